"""Parameters in a command line of the shell: `{size}` becomes the value, quoted as its place in the line needs it.

Python >= 3.6, standard library only: step.py uses it on nodes, and the configuration is checked with it before any job
runs. The line is read as bash reads it, because the same value is written differently between single quotes, between
double quotes, in a here-document and outside of all of them.
"""

import re
from collections import namedtuple

# How a place is quoted. OWN: `${n}` is the shell's or another program's variable. UNCLEAR: nobody can tell what is
# meant, or the shell would read the value and its neighbour as one. ESCAPED: `\{n}`, the text itself.
WORD, DOUBLE, SINGLE, ANSI = "word", "double", "single", "ansi"
HEREDOC, LITERAL, PLAIN, NUMBER = "heredoc", "literal", "plain", "number"
OWN, UNCLEAR, ESCAPED = "own", "unclear", "escaped"

# `{name}` at line[start:end]. `document` is set inside of a here-document only.
Place = namedtuple("Place", "start end name kind document")
Document = namedtuple("Document", "start end delimiter dash")

BRACED = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)\}")
HEREDOC_START = re.compile(r"<<(-?)[ \t]*((?:\\.|'[^']*'|\"[^\"]*\"|[^\s;&|<>()'\"\\])+)")
VARIABLE = re.compile(r"\$(?:[A-Za-z_]\w*|\$)")
CASE = re.compile(r"(?<![\w$])case\s")
# These need no quotes. A comma or two dots would be a brace expansion's, a `=` an assignment's.
HARMLESS = re.compile(r"[A-Za-z0-9_:/@%+-]+(?:\.[A-Za-z0-9_:/@%+-]+)*\.?|\.[A-Za-z0-9_:/@%+-]+")
RESERVED = re.compile("case|coproc|do|done|elif|else|esac|fi|for|function|if|in|select|then|time|until|while")


class Unquotable(ValueError):
    """A value that cannot stand at its place."""


class _Reader:
    """Finds the places of one line. Each method reads one construct of the shell from `self.i` to its end."""

    def __init__(self, line):
        self.line, self.i, self.places, self.pending = line, 0, [], []
        self.unsure = False

    def at(self, text):
        return self.line.startswith(text, self.i)

    def add(self, match, kind, document=None):
        before = self.line[max(0, match.start() - 100) : match.start()]
        slashes = len(before) - len(before.rstrip("\\"))
        if slashes % 2:
            kind = ESCAPED if kind == WORD else UNCLEAR
        elif before.endswith("%") or (kind not in (OWN, UNCLEAR) and re.search(r"\$[A-Za-z_]\w*$", before)):
            kind = UNCLEAR
        elif self.unsure and kind != OWN:
            kind = PLAIN
        self.places.append(Place(match.start(), match.end(), match.group(1), kind, document))
        self.i = match.end()

    def brace(self, kind, document=None):
        """A `{`: a place, or nothing special."""
        match = BRACED.match(self.line, self.i)
        if match:
            self.add(match, kind, document)
        else:
            self.i += 1

    def escape(self, kind, document=None):
        """A backslash and what it escapes; a `{` or `${` after it is still looked at."""
        self.i += 1
        if self.at("{"):
            self.brace(kind, document)
        elif self.at("$"):
            self.i += 1
            match = BRACED.match(self.line, self.i)
            if match:
                self.add(match, UNCLEAR, document)
        else:
            self.i += 1

    def flat(self, end, kind, document=None):
        """Text in which the shell expands nothing."""
        for match in BRACED.finditer(self.line, self.i, end):
            own = self.line[: match.start()].endswith("$")
            self.add(match, OWN if own else kind, document)
        self.i = end

    def find(self, text):
        found = self.line.find(text, self.i)
        return len(self.line) if found < 0 else found

    def words(self, closing=""):
        """Outside of quotes, up to the `)` that closes it."""
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
                # The `)` of a pattern is not the one that ends `$(`: quotes cannot be told from here on.
                self.unsure = True
                self.i += 4
            else:
                self.i += 1

    def double(self):
        self.i += 1
        while self.i < len(self.line) and not self.at('"'):
            self.expanding(DOUBLE)
        self.i += 1

    def expanding(self, kind, document=None):
        """One character, or one construct, of text in which the shell expands `$` and backticks."""
        c = self.line[self.i]
        if c == "\\":
            self.escape(kind, document)
        elif c == "$":
            self.dollar(kind, document)
        elif c == "`":
            self.backticks()
        elif c == "{":
            self.brace(kind, document)
        else:
            self.i += 1

    def dollar(self, kind, document=None):
        match = BRACED.match(self.line, self.i + 1)
        if match:
            self.add(match, OWN, document)
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
                self.add(glued, UNCLEAR, document)

    def expansion(self, kind):
        """The inside of `${name...}`."""
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
        """The bodies of the here-documents that the line before has begun."""
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
            document = Document(start, end, delimiter, dash)
            if word != delimiter:
                self.flat(end, LITERAL, document)
            while self.i < end:
                self.expanding(HEREDOC, document)
            stop = self.line.find("\n", self.i)
            self.i = len(self.line) if stop < 0 else stop + 1


def places(line):
    """Every `{name}` of a line, in order; those in comments are none."""
    reader = _Reader(line)
    while reader.i < len(line):
        reader.words()
        reader.i += 1
    return reader.places


def quote(value, place, follows=""):
    """A value as it has to be written at its place; `follows` is the character after it."""
    if place.kind == WORD:
        # `3>file` would redirect the file descriptor 3.
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
    """`{name}` becomes the value of the parameter; every other brace stays as it is.

    `found` are the line's places, for callers with many cases. Raises Unquotable where a value cannot be written.
    """
    parts, last, documents = [], 0, {}
    length = 0
    for place in places(line) if found is None else found:
        if place.name not in params or place.kind in (OWN, ESCAPED):
            continue
        if place.kind == UNCLEAR:
            raise Unquotable("it is unclear whether {" + place.name + "} is the parameter")
        value = params[place.name]
        if place.document and place.document.dash and re.search(r"(^|\n)\t", value):
            raise Unquotable("<<-" + place.document.delimiter + " would take the tabs at the start of a line away")
        for text in (line[last : place.start], quote(value, place, line[place.end : place.end + 1])):
            parts.append(text)
            length += len(text)
        if place.document:
            # Where the line of the document begins that holds the value.
            documents.setdefault(place.document, []).append(length - len(text))
        last = place.end
    text = "".join(parts) + line[last:]
    for document, starts in documents.items():
        first = text.rfind("\n", 0, starts[0]) + 1
        body = text[first : len(text) - (len(line) - document.end)]
        ends = [each.lstrip("\t") if document.dash else each for each in body.split("\n")]
        # Inside of `$(..)`, bash also takes a line for the end that begins with the delimiter and holds a `)`.
        if any(each == document.delimiter or (each.startswith(document.delimiter) and ")" in each) for each in ends):
            raise Unquotable("the value would end the here-document, as a line of it begins with " + document.delimiter)
    return text
