"""Reads an INI file with configparser. Every error names the file, the line, the section and the option."""

import configparser
import difflib
import re
import shlex
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from ...errors import HarborError

FILE_MAX = 16 << 20
"""A configuration may have this many bytes. 100,000 cases take half of it."""
_NO_DEFAULTS = "\n"
"""No section can have this name, so that no section gives its options to all others."""
_WITHOUT_SECTION = "\0"


@dataclass(frozen=True)
class Option:
    """One `name = value` of a section. `line` is its line in the file."""

    section: str
    name: str
    value: str
    line: int


class IniFile:
    """The sections of a file, with names as they are written."""

    def __init__(self, path: Path) -> None:
        """Read the file. Raises HarborError if it is no INI file."""
        self.path = path
        text = _read_text(path)
        self._lines = _lines_of(text)
        parser = configparser.ConfigParser(default_section=_NO_DEFAULTS)
        parser.optionxform = str  # type: ignore[assignment,method-assign]
        try:
            parser.read_string(text, str(path))
        except configparser.DuplicateSectionError as error:
            raise HarborError(f"{path}:{error.lineno}: [{error.section}] is there twice.") from error
        except configparser.DuplicateOptionError as error:
            raise HarborError(
                f"{path}:{error.lineno}: [{error.section}] {error.option}: the name is there twice."
            ) from error
        except configparser.MissingSectionHeaderError as error:
            raise HarborError(f"{path}:{error.lineno}: a [SECTION] must stand before the first option.") from error
        except configparser.ParsingError as error:
            line, shown = error.errors[0]
            raise HarborError(f"{path}:{line}: {shown} is not of the form `name = value`.") from error
        self.sections = {name: self._options(parser, name) for name in parser.sections()}

    def _options(self, parser: configparser.ConfigParser, section: str) -> dict[str, Option]:
        found = {}
        for name in parser.options(section):
            option = Option(section, name, "", self._lines.get((section, name), 0))
            try:
                value = parser.get(section, name)
            except configparser.InterpolationError as error:
                raise self.error(
                    option, "a % begins the name of another option, %(NAME)s. Write %% for a single %."
                ) from error
            found[name] = Option(section, name, value, option.line)
        return found

    def error(self, option: Option, why: str, hint: str | None = None) -> HarborError:
        """Return the error for an option."""
        return HarborError(f"{self.path}:{option.line}: [{option.section}] {option.name}: {why}", hint)

    def section_error(self, section: str, why: str, hint: str | None = None) -> HarborError:
        """Return the error for a section, which may be missing."""
        line = self._lines.get((section, _WITHOUT_SECTION))
        return HarborError(f"{self.path}{f':{line}' if line else ''}: [{section}]{why}", hint)


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return a question with the known word that is closest to `word`, or all known words."""
    words = list(known)
    lower = {each.lower(): each for each in words}
    close = difflib.get_close_matches(word.lower(), lower, n=1)
    if close:
        return f'did you mean "{lower[close[0]]}"?'
    return f"known {'is' if len(words) == 1 else 'are'} {', '.join(words)}."


def _read_text(path: Path) -> str:
    quoted = shlex.quote(str(path))
    try:
        with path.open("rb") as file:
            data = file.read(FILE_MAX + 1)
    except OSError as error:
        raise HarborError(f"{path.absolute()} cannot be read: {error.strerror or error}.", f"ls -l {quoted}") from error
    if len(data) > FILE_MAX:
        raise HarborError(f"{path} is larger than {FILE_MAX >> 20} MiB.", f"ls -l {quoted}")
    try:
        text = data.decode("utf-8-sig")
        if "\0" in text:
            raise ValueError
    except ValueError as error:
        raise HarborError(f"{path} is not a text file in UTF-8.", f"file {quoted}") from error
    return text


def _lines_of(text: str) -> dict[tuple[str, str], int]:
    """Return the first line of each (section, option), because configparser does not keep them."""
    found: dict[tuple[str, str], int] = {}
    section = ""
    for number, line in enumerate(text.splitlines(), 1):
        if line.lstrip().startswith(("#", ";")):
            continue
        header = re.match(r"\s*\[(.+)\]", line)
        if header:
            section = header[1]
            found.setdefault((section, _WITHOUT_SECTION), number)
            continue
        name = re.split("[=:]", line, maxsplit=1)[0].strip()
        found.setdefault((section, name), number)
    return found
