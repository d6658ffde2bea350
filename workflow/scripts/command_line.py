"""Put parameters into a command line of the shell: `{size}` becomes the value, quoted as its place in the line needs.

This module needs Python >= 3.6 and the standard library only, because step.py uses it on nodes. The configuration is
checked with it, too, before any job runs. It reads the line as bash reads it, because the same value is written
differently between single quotes, between double quotes, in a here-document and outside of all of them.
"""

import re
from collections import namedtuple

# The kinds say how a place is quoted. OWN: `${n}` is a variable of the shell or of another program. UNCLEAR: it is not
# certain what is meant, or the shell would read the value and its neighbour as one. ESCAPED: `\{n}` is the text itself.
WORD, DOUBLE, SINGLE, ANSI = "word", "double", "single", "ansi"
HEREDOC, LITERAL, PLAIN, NUMBER = "heredoc", "literal", "plain", "number"
OWN, UNCLEAR, ESCAPED = "own", "unclear", "escaped"

# A place is `{name}` at line[start:end]. `documents` are the here-documents that it is in, the innermost last.
Place = namedtuple("Place", "start end name kind documents")
Document = namedtuple("Document", "start end delimiter dash")

BRACED = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)\}")
HEREDOC_START = re.compile(r"<<(-?)[ \t]*((?:\\.|'[^']*'|\"[^\"]*\"|[^\s;&|<>()'\"\\])+)")
VARIABLE = re.compile(r"\$(?:[A-Za-z_]\w*|\$)")
CASE = re.compile(r"(?<![\w$])case\s")
# These characters need no quotes. A comma or two dots could belong to a brace expansion, a `=` to an assignment.
HARMLESS = re.compile(r"[A-Za-z0-9_:/@%+-]+(?:\.[A-Za-z0-9_:/@%+-]+)*\.?|\.[A-Za-z0-9_:/@%+-]+")
RESERVED = re.compile("case|coproc|do|done|elif|else|esac|fi|for|function|if|in|select|then|time|until|while")


class Unquotable(ValueError):
    """A value cannot be written at its place."""


class _Reader:
    """Find the places in one line. Each method reads one construct of the shell from `self.i` to its end."""

    def __init__(self, line):
        self.line, self.i, self.places, self.pending, self.open = line, 0, [], [], []
        self.unsure = False

    def at(self, text):
        return self.line.startswith(text, self.i)

    def add(self, match, kind):
        before = self.line[max(0, match.start() - 100) : match.start()]
        slashes = len(before) - len(before.rstrip("\\"))
        if slashes % 2:
            kind = ESCAPED if kind == WORD else UNCLEAR
        elif before.endswith("%") or (kind not in (OWN, UNCLEAR) and re.search(r"\$[A-Za-z_]\w*$", before)):
            kind = UNCLEAR
        elif self.unsure and kind != OWN:
            kind = PLAIN
        self.places.append(Place(match.start(), match.end(), match.group(1), kind, tuple(self.open)))
        self.i = match.end()

    def brace(self, kind):
        """Read a `{`, which begins a place or is an ordinary character."""
        match = BRACED.match(self.line, self.i)
        if match:
            self.add(match, kind)
        else:
            self.i += 1

    def escape(self, kind):
        """Read a backslash and the character that it escapes. A `{` or `${` after it is read on its own."""
        self.i += 1
        if self.at("{"):
            self.brace(kind)
        elif self.at("$"):
            self.i += 1
            match = BRACED.match(self.line, self.i)
            if match:
                self.add(match, UNCLEAR)
        else:
            self.i += 1

    def flat(self, end, kind):
        """Read text in which the shell expands nothing."""
        for match in BRACED.finditer(self.line, self.i, end):
            own = self.line[: match.start()].endswith("$")
            self.add(match, OWN if own else kind)
        self.i = end

    def find(self, text):
        found = self.line.find(text, self.i)
        return len(self.line) if found < 0 else found

    def words(self, closing=""):
        """Read text outside of quotes, up to the `)` that closes it."""
        start = self.i
        while self.i < len(self.line):
            c = self.line[self.i]
            if c == ")" and closing:
                self.i += 1
                return
            if c == "\\":
                self.escape(WORD)
            elif c == "'":
                self.i += 1
                self.flat(self.find("'"), SINGLE)
                self.i += 1
            elif c == '"':
                self.double()
            elif c == "`":
                self.backticks()
            elif c == "$":
                self.dollar(WORD)
            elif c == "#" and (self.i == start or self.line[self.i - 1] in " \t\n;&|("):
                self.i = self.find("\n")
            elif self.at("(("):
                self.arithmetic()
            elif c == "(":
                self.i += 1
                self.words(")")
            elif self.at("<<<"):
                self.i += 3
            elif c == "<" and HEREDOC_START.match(self.line, self.i):
                match = HEREDOC_START.match(self.line, self.i)
                self.pending.append((match.group(2), bool(match.group(1))))
                self.i = match.end()
            elif c == "\n":
                self.i += 1
                self.documents()
            elif c == "{":
                self.brace(WORD)
            elif closing and CASE.match(self.line, self.i):
                # The `)` of a pattern does not end `$(`, so it is not certain from here on which characters are quoted.
                self.unsure = True
                self.i += 4
            else:
                self.i += 1

    def double(self):
        self.i += 1
        while self.i < len(self.line) and not self.at('"'):
            self.expanding(DOUBLE)
        self.i += 1

    def expanding(self, kind):
        """Read one character or construct of text in which the shell expands `$` and backticks."""
        c = self.line[self.i]
        if c == "\\":
            self.escape(kind)
        elif c == "$":
            self.dollar(kind)
        elif c == "`":
            self.backticks()
        elif c == "{":
            self.brace(kind)
        else:
            self.i += 1

    def dollar(self, kind):
        match = BRACED.match(self.line, self.i + 1)
        if match:
            self.add(match, OWN)
        elif self.at("${"):
            self.i += 2
            self.expansion(kind)
        elif self.at("$(("):
            self.i += 1
            self.arithmetic()
        elif self.at("$("):
            self.i += 2
            self.words(")")
        elif kind == WORD and self.at("$'"):
            self.i += 2
            while self.i < len(self.line) and not self.at("'"):
                if self.at("\\"):
                    self.escape(ANSI)
                elif self.at("{"):
                    self.brace(ANSI)
                else:
                    self.i += 1
            self.i += 1
        else:
            match = VARIABLE.match(self.line, self.i)
            self.i = match.end() if match else self.i + 1
            glued = BRACED.match(self.line, self.i)
            if match and glued:
                self.add(glued, UNCLEAR)

    def expansion(self, kind):
        """Read the inside of `${name...}`."""
        while self.i < len(self.line) and not self.at("}"):
            if self.at('"'):
                self.double()
            elif self.at("'") and kind == WORD:
                self.i += 1
                self.flat(self.find("'"), PLAIN)
                self.i += 1
            else:
                self.expanding(PLAIN)
        self.i += 1

    def arithmetic(self):
        depth = 0
        while self.i < len(self.line):
            if self.at("("):
                depth += 1
                self.i += 1
            elif self.at(")"):
                depth -= 1
                self.i += 1
                if depth == 0:
                    return
            else:
                self.expanding(NUMBER)

    def backticks(self):
        match = re.compile(r"`(?:\\.|[^`\\])*", re.DOTALL).match(self.line, self.i)
        self.flat(match.end(), PLAIN)
        self.i += 1

    def documents(self):
        """Read the bodies of the here-documents that the line before has begun."""
        pending, self.pending = self.pending, []
        for word, dash in pending:
            delimiter = re.sub(r"\\(.)|['\"]", r"\1", word)
            start = end = self.i
            while end < len(self.line):
                stop = self.line.find("\n", end)
                stop = len(self.line) if stop < 0 else stop
                text = self.line[end:stop]
                if (text.lstrip("\t") if dash else text) == delimiter:
                    break
                end = stop + 1
            end = min(end, len(self.line))
            self.open.append(Document(start, end, delimiter, dash))
            if word != delimiter:
                self.flat(end, LITERAL)
            while self.i < end:
                self.expanding(HEREDOC)
            self.open.pop()
            stop = self.line.find("\n", self.i)
            self.i = len(self.line) if stop < 0 else stop + 1


def places(line):
    """Return every `{name}` of a line, in order, without those in comments."""
    reader = _Reader(line)
    while reader.i < len(line):
        reader.words()
        reader.i += 1
    return reader.places


def quote(value, place, follows=""):
    """Return a value as it has to be written at its place. `follows` is the character after the place."""
    if place.kind == WORD:
        # In `3>file`, the shell would take the value 3 for a file descriptor.
        redirects = value.isdigit() and follows in ("<", ">")
        if HARMLESS.fullmatch(value) and not RESERVED.fullmatch(value) and not redirects:
            return value
        return "'" + value.replace("'", "'\"'\"'") + "'"
    if place.kind == DOUBLE:
        return re.sub(r'([\\$`"])', r"\\\1", value)
    if place.kind == SINGLE:
        return value.replace("'", "'\"'\"'")
    if place.kind == ANSI:
        return re.sub(r"([\\'])", r"\\\1", value)
    if place.kind == HEREDOC:
        return re.sub(r"([\\$`])", r"\\\1", value)
    if place.kind == NUMBER and not re.fullmatch(r"-?[A-Za-z0-9_.]+", value):
        raise Unquotable("only a number can stand in arithmetic")
    if place.kind == PLAIN and not HARMLESS.fullmatch(value):
        raise Unquotable("only a plain word can be quoted inside of ${..} or backticks")
    return value


def substitute(line, params, found=None):
    """Return the line with each `{name}` replaced by the value of the parameter. Every other brace stays as it is.

    `found` holds the line's places, for callers with many cases. Raises Unquotable where a value cannot be written.
    """
    parts, last, documents = [], 0, {}
    for place in places(line) if found is None else found:
        if place.name not in params or place.kind in (OWN, ESCAPED):
            continue
        if place.kind == UNCLEAR:
            raise Unquotable("it is unclear whether {" + place.name + "} is the parameter")
        value = params[place.name]
        written = quote(value, place, line[place.end : place.end + 1])
        parts += [line[last : place.start], written]
        last = place.end
        for document in place.documents:
            if document.dash and re.search(r"(^|\n)\t", value):
                raise Unquotable("<<-" + document.delimiter + " would take the tabs at the start of a line away")
            documents.setdefault(document, []).append((place, written))
    for document, written in documents.items():
        _check_end(line, document, written)
    return "".join(parts) + line[last:]


def _check_end(line, document, written):
    """Raise Unquotable if a value ends its here-document. `written` holds each place of the document and its value."""
    body, last = "", line.rfind("\n", 0, written[0][0].start) + 1
    for place, value in written:
        body += line[last : place.start] + value
        last = place.end
    body += line[last : document.end]
    for each in body.split("\n"):
        text = each.lstrip("\t") if document.dash else each
        # Inside `$(..)`, bash also ends the document at a line that begins with the delimiter and contains a `)`.
        if text == document.delimiter or (text.startswith(document.delimiter) and ")" in text):
            raise Unquotable("the value would end the here-document, as a line of it begins with " + document.delimiter)
