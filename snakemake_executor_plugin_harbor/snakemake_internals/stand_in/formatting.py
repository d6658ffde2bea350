"""The module `snakemake.utils` of a script: formats the text of shell() with the variables of its caller."""

import os
import shlex
import string
import sys

from snakemake.iocontainers import Wildcards


class QuotedFormatter(string.Formatter):
    """Quotes values whose format ends with `q`. With `always`, it quotes all but those whose format ends with `u`."""

    def __init__(self, quote=None, always=False):
        self.quote = quote or shlex.quote
        self.always = always

    def format_field(self, value, format_spec):
        quoted = self.always
        if format_spec[-1:] in ("q", "u"):
            quoted = format_spec[-1] == "q"
            format_spec = format_spec[:-1]
        text = string.Formatter.format_field(self, value, format_spec)
        return self.quote(text) if quoted and text else text


class SequenceFormatter(string.Formatter):
    """Formats each item of a sequence, and joins them with blanks."""

    def __init__(self, formatter):
        self.formatter = formatter

    def format_field(self, value, format_spec):
        if isinstance(value, Wildcards):
            return ",".join("%s=%s" % item for item in sorted(value.items(), key=lambda item: item[0]))
        if isinstance(value, (list, tuple, set, frozenset)):
            return " ".join(self.formatter.format_field(item, format_spec) for item in value)
        return self.formatter.format_field(value, format_spec)


def format(_pattern, *args, **kwargs):
    """Format a text with the variables of the caller. `stepout` is the number of frames between it and this one."""
    stepout, always, quote = kwargs.pop("stepout", 1), kwargs.pop("_quote_all", False), kwargs.pop("quote_func", None)
    frame = sys._getframe(1)
    while stepout > 1 and frame.f_back:
        frame = frame.f_back
        stepout -= 1
    variables = dict(frame.f_globals)
    variables.update(frame.f_locals)
    variables.update(kwargs)
    try:
        return SequenceFormatter(QuotedFormatter(quote, always)).vformat(_pattern, args, variables)
    except KeyError as error:
        raise NameError(
            "The name %s is unknown in this context. Please make sure that you defined that variable. Also note that "
            "braces not used for variable access have to be escaped by repeating them, i.e. {{print $1}}" % error
        )


def makedirs(dirnames):
    for name in [dirnames] if isinstance(dirnames, str) else dirnames:
        os.makedirs(name, exist_ok=True)
