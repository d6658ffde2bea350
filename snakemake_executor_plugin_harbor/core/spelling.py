"""Guesses what a misspelt name means."""

import difflib
from collections.abc import Iterable


def closest(word: str, known: Iterable[str]) -> str:
    """Return the known name that is most like the word, or "" if none is like it."""
    return next(iter(difflib.get_close_matches(word, known, n=1)), "")
