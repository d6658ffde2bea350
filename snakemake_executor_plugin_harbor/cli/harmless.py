"""Changes what programs have printed so that it cannot control the terminal."""

import re

_COLOUR = rb"\x1b\[[0-9;:]*m"
_CONTROL = re.compile(rb"(" + _COLOUR + rb")|[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]|\xc2[\x80-\x9f]")
_INVISIBLE = (b"\x02", b"\x03")
"""These stand around a progress marker."""


def harmless(data: bytes) -> bytes:
    """Return the data with its control characters shown as in `^[`. Ends of lines, tabs and colours stay as they are.

    A log may contain any bytes. Escape sequences can hide lines, rename the window, or have the terminal type a text.
    """
    return _CONTROL.sub(lambda found: found[1] or _shown(found[0]), data)


def _shown(control: bytes) -> bytes:
    if control in _INVISIBLE:
        return b""
    return b"^%c" % (control[0] ^ 0x40) if len(control) == 1 else b"\\x%02x" % control[1]
