"""known_hosts: which keys a host may show, and how an accepted new one is remembered.

Files are read and appended to here, never rewritten: paramiko's own AutoAddPolicy drops comments, markers and
hashed names of the user's file. No paramiko in here: a key is its type and its base64 text.
"""

import base64
import fnmatch
import hashlib
import hmac
import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import NamedTuple

from .config import HostOptions


class ShownKey(NamedTuple):
    """A host key as users compare it: its type and SHA256:..., as ssh and ssh-keygen -l print it."""

    type: str
    fingerprint: str


@dataclass(frozen=True)
class HostKey:
    """A server's public key. `type` as in known_hosts: ssh-ed25519, ssh-rsa, ecdsa-sha2-nistp256, ..."""

    type: str
    text: str

    @property
    def shown(self) -> ShownKey:
        digest = hashlib.sha256(base64.b64decode(self.text)).digest()
        return ShownKey(self.type, "SHA256:" + base64.b64encode(digest).decode("ascii").rstrip("="))


class Verdict(Enum):
    KNOWN = "known"
    UNKNOWN = "unknown"
    CHANGED = "changed"
    REVOKED = "revoked"


@dataclass(frozen=True)
class Entry:
    """A line that lists the host. `where` is FILE:LINE, `marker` empty or @revoked or @cert-authority."""

    key: HostKey
    marker: str
    where: str


_accepted: dict[str, HostKey] = {}
_accepting = threading.Lock()


def entries(options: HostOptions, name: str) -> list[Entry]:
    """All lines about `name` in the user's and the system's files; files that cannot be read list nobody."""
    return [entry for path in options.user_known_hosts + options.global_known_hosts for entry in _read(path, name)]


def _read(path: Path, name: str) -> Iterator[Entry]:
    try:
        lines = path.read_text(errors="replace").splitlines()
    except OSError:
        return
    for number, line in enumerate(lines, 1):
        words = line.split()
        marker = words.pop(0) if words and words[0].startswith("@") else ""
        if len(words) >= 3 and not words[0].startswith("#") and _lists(words[0], name):
            yield Entry(HostKey(words[1], words[2]), marker, f"{path}:{number}")


def _lists(patterns: str, name: str) -> bool:
    """Whether the first field of a line (`a,b*,!bad`, or one hashed name) is about `name`."""
    if patterns.startswith("|1|"):
        return _hashed_is(patterns, name)
    found = False
    for pattern in patterns.lower().split(","):
        negated = pattern.startswith("!")
        # Square brackets are part of [host]:port here, not a set of characters.
        glob = pattern.removeprefix("!").replace("[", "[[]")
        if fnmatch.fnmatchcase(name.lower(), glob):
            if negated:
                return False
            found = True
    return found


def _hashed_is(field: str, name: str) -> bool:
    try:
        salt, digest = (base64.b64decode(part) for part in field[3:].split("|"))
    except ValueError:
        return False
    return hmac.compare_digest(hmac.new(salt, name.encode(), "sha1").digest(), digest)


def judge(options: HostOptions, key: HostKey) -> tuple[Verdict, list[Entry]]:
    """What the files say of `key`, with the lines that list the host."""
    found = entries(options, options.known_name)
    plain = [entry for entry in found if not entry.marker]
    if any(entry.marker == "@revoked" and entry.key == key for entry in found):
        return Verdict.REVOKED, found
    if any(entry.key == key for entry in plain):
        return Verdict.KNOWN, found
    if any(entry.key.type == key.type for entry in plain):
        return Verdict.CHANGED, found
    # As ssh does: a key that is right under the name without the port is right.
    bare = [] if options.has_alias else entries(options, options.hostname)
    if any(entry.key == key and not entry.marker for entry in bare):
        return Verdict.KNOWN, bare
    return Verdict.UNKNOWN, found


def accept_new(options: HostOptions, key: HostKey) -> Verdict:
    """Remember a key that judge() did not know (StrictHostKeyChecking accept-new).

    Two connections may meet the same new host: the second one must find what the first one wrote. The memory
    serves where the file cannot be written.
    """
    with _accepting:
        verdict, _ = judge(options, key)
        if verdict is Verdict.UNKNOWN:
            if _accepted.setdefault(options.known_name, key) != key:
                return Verdict.CHANGED
            _append(options, key)
            return Verdict.KNOWN
        return verdict


def _append(options: HostOptions, key: HostKey) -> None:
    for path in options.user_known_hosts[:1]:
        name = hashed(options.known_name) if options.hash_known_hosts else options.known_name
        line = f"{name} {key.type} {key.text}\n".encode()
        try:
            path.parent.mkdir(mode=0o700, exist_ok=True)
            with open(path, "a+b", buffering=0, opener=_private) as file:
                if file.seek(0, os.SEEK_END) > 0:
                    file.seek(-1, os.SEEK_END)
                    line = line if file.read(1) == b"\n" else b"\n" + line
                file.write(line)
        except OSError:
            pass  # not writable, or /dev/null: the memory holds it for this run


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def hashed(name: str) -> str:
    """`name` as HashKnownHosts writes it: |1|SALT|HMAC-SHA1."""
    salt = os.urandom(20)
    digest = hmac.new(salt, name.encode(), "sha1").digest()
    return "|1|" + "|".join(base64.b64encode(part).decode("ascii") for part in (salt, digest))
