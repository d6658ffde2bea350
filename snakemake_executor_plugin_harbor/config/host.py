"""Parses one host of the host list. Its form is GNU parallel's sshlogin form: `[SLOTS/][USER@]HOST[:PORT]`."""

import re
from collections.abc import Iterable
from dataclasses import replace

from ..core.model import NodeSpec
from ..core.protocol import MAX_CORES
from ..errors import HarborError

FORM = "[SLOTS/][USER@]HOST[:PORT], for example 8/ada or carol@grace:2222"
NAME_MAX = 253
"""DNS allows no longer host name."""
_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9_])?")
_IPV6 = re.compile(r"[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*(%[A-Za-z0-9._-]+)?")
_USER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._@\\-]*")
_SHOWN = 60


def parse_host(text: str, where: str) -> NodeSpec:
    """Return the node that `text` describes. Raises HarborError that begins with `where` (the option or file:line)."""

    def bad(why: str) -> HarborError:
        return HarborError(f"{where}: {shorten(text)} is not a host: {why}. The form is {FORM}.")

    rest, slots, user = text.strip(), None, None
    if "/" in rest:
        head, rest = rest.split("/", 1)
        slots = _number(head, 1, MAX_CORES)
        if slots is None:
            raise bad(f"SLOTS must be a whole number from 1 to {MAX_CORES}, not {shorten(head)}")
    if "@" in rest:
        user, rest = rest.rsplit("@", 1)
        if not _USER.fullmatch(user):
            raise bad(f"{shorten(user)} is not a user name")
    host, separator, port_text = _split_port(rest)
    if separator not in ("", ":"):
        raise bad("after [ADDRESS] only :PORT may follow")
    port = _number(port_text, 1, 65535) if separator else None
    if separator and port is None:
        raise bad(f"PORT must be a number from 1 to 65535, not {shorten(port_text)}")
    if len(host) > NAME_MAX or not (_NAME.fullmatch(host) or _IPV6.fullmatch(host)):
        raise bad(f"{shorten(host)} is not a host name or address" if host else "there is no host name")
    local = host == "localhost" and user is None and port is None
    return NodeSpec(name=host, host=host, user=user, port=port, slots=slots, local=local)


def _split_port(text: str) -> tuple[str, str, str]:
    """Return host, separator and port of HOST, HOST:PORT, ADDRESS or [ADDRESS]:PORT. ADDRESS may be an IPv6 address.

    The separator is ":" if a port follows, "" if none does, and anything else is a mistake.
    """
    if text.startswith("["):
        host, _, tail = text[1:].partition("]")
        return host, tail[:1], tail[1:]
    return text.partition(":") if text.count(":") == 1 else (text, "", "")


def _number(text: str, low: int, high: int) -> int | None:
    """Return the whole number in `text`, or None if it is not one or is out of range."""
    number = int(text) if re.fullmatch("[0-9]{1,12}", text) else -1
    return number if low <= number <= high else None


def shorten(value: object) -> str:
    """Return the repr of a wrong value, cut to a length that suits an error message."""
    text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 3]}..."


def checked_node_name(name: str, where: str) -> str:
    """Return `name` if it can be the name of a node. Raises HarborError otherwise."""
    if len(name) > NAME_MAX or not _NAME.fullmatch(name):
        raise HarborError(
            f"{where}: {shorten(name)} is not a node name. A node name consists of letters, digits, '.', '_' and '-'; "
            "it begins with a letter or digit and does not end with '.' or '-'."
        )
    return name


def with_unique_names(nodes: Iterable[NodeSpec], where: object = "--harbor-hosts") -> list[NodeSpec]:
    """Return the nodes with unique names. Raises HarborError if that is not possible.

    If a name occurs more than once, those of its nodes that have a port are renamed to host:port.
    """
    given = list(nodes)
    count: dict[str, int] = {}
    for node in given:
        count[node.name] = count.get(node.name, 0) + 1
    named = [
        replace(node, name=f"{node.host}:{node.port}") if count[node.name] > 1 and node.port else node for node in given
    ]
    seen: set[str] = set()
    for node in named:
        if node.name in seen:
            raise HarborError(
                f"{where}: node {node.name} is in the host list twice.",
                f"name it once, with the slots that it shall have: {node.slots or 8}/{node.host}",
            )
        seen.add(node.name)
    return named
