"""Reads known_hosts files to check a host's key, and appends the keys of new hosts that are accepted.

Files are never rewritten, because paramiko's AutoAddPolicy, which rewrites them, drops comments, markers and hashed
names. This file does not use paramiko: a key is its type and its base64 text.
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

from .host_options import HostOptions


class KeyFingerprint(NamedTuple):
    """Describes a host key in the form that users compare. `sha256` is "SHA256:..." as ssh-keygen -l prints it."""

    type: str
    sha256: str


@dataclass(frozen=True)
class HostKey:
    """Holds a server's public key. `type` is the type in known_hosts: ssh-ed25519, ssh-rsa, ecdsa-sha2-nistp256, ..."""

    type: str
    text: str

    @property
    def fingerprint(self) -> KeyFingerprint:
        digest = hashlib.sha256(base64.b64decode(self.text)).digest()
        return KeyFingerprint(self.type, "SHA256:" + base64.b64encode(digest).decode("ascii").rstrip("="))


class Verdict(Enum):
    """Tells what known_hosts says about a key."""

    KNOWN = "known"
    UNKNOWN = "unknown"
    CHANGED = "changed"
    REVOKED = "revoked"


@dataclass(frozen=True)
class Entry:
    """Holds a line that lists a host. `where` is FILE:LINE. `marker` is empty, @revoked or @cert-authority."""

    key: HostKey
    marker: str
    where: str


_accepted: dict[str, HostKey] = {}
_accepting = threading.Lock()


def entries_of(name: str, options: HostOptions) -> list[Entry]:
    """Return all lines about `name` in the user's and the system's files. Files that cannot be read are skipped."""
    return [entry for path in options.user_known_hosts + options.global_known_hosts for entry in _read(path, name)]


def _read(path: Path, name: str) -> Iterator[Entry]:
    try:
        lines = path.read_text(errors="replace").splitlines()
    except OSError:
        return
    for number, line in enumerate(lines, 1):
        words = line.split()
        marker = words.pop(0) if words and words[0].startswith("@") else ""
        if len(words) >= 3 and not words[0].startswith("#") and _matches(words[0], name):
            yield Entry(HostKey(words[1], words[2]), marker, f"{path}:{number}")


def _matches(patterns: str, name: str) -> bool:
    """Return True if the first field of a line is about `name`. It is `a,b*,!bad` or one hashed name."""
    if patterns.startswith("|1|"):
        return _hash_matches(patterns, name)
    found = False
    for pattern in patterns.lower().split(","):
        negated = pattern.startswith("!")
        # Square brackets are part of [host]:port here. They are not a set of characters.
        glob = pattern.removeprefix("!").replace("[", "[[]")
        if fnmatch.fnmatchcase(name.lower(), glob):
            if negated:
                return False
            found = True
    return found


def _hash_matches(field: str, name: str) -> bool:
    try:
        salt, digest = (base64.b64decode(part) for part in field[3:].split("|"))
    except ValueError:
        return False
    return hmac.compare_digest(hmac.new(salt, name.encode(), "sha1").digest(), digest)


def check_key(options: HostOptions, key: HostKey) -> tuple[Verdict, list[Entry]]:
    """Return what the files say about `key`, and the lines that list the host."""
    found = entries_of(options.known_name, options)
    plain = [entry for entry in found if not entry.marker]
    if any(entry.marker == "@revoked" and entry.key == key for entry in found):
        return Verdict.REVOKED, found
    if any(entry.key == key for entry in plain):
        return Verdict.KNOWN, found
    if any(entry.key.type == key.type for entry in plain):
        return Verdict.CHANGED, found
    # As with ssh, a key that is listed under the host's name without the port is right, too.
    without_port = [] if options.has_alias else entries_of(options.hostname, options)
    if any(entry.key == key and not entry.marker for entry in without_port):
        return Verdict.KNOWN, without_port
    return Verdict.UNKNOWN, found


def accept_new(options: HostOptions, key: HostKey) -> Verdict:
    """Accept a key that check_key() did not know, and append it to the user's file (StrictHostKeyChecking accept-new).

    Two connections may meet the same new host at the same time, so the second one must find what the first one wrote.
    The key is also kept in memory, because the file may not be writable.
    """
    with _accepting:
        verdict, _ = check_key(options, key)
        if verdict is Verdict.UNKNOWN:
            if _accepted.setdefault(options.known_name, key) != key:
                return Verdict.CHANGED
            _append(options, key)
            return Verdict.KNOWN
        return verdict


def _append(options: HostOptions, key: HostKey) -> None:
    for path in options.user_known_hosts[:1]:
        name = hash_name(options.known_name) if options.hash_known_hosts else options.known_name
        line = f"{name} {key.type} {key.text}\n".encode()
        try:
            path.parent.mkdir(mode=0o700, exist_ok=True)
            with open(path, "a+b", buffering=0, opener=_open_private) as file:
                if file.seek(0, os.SEEK_END) > 0:
                    file.seek(-1, os.SEEK_END)
                    line = line if file.read(1) == b"\n" else b"\n" + line
                file.write(line)
        except OSError:
            pass  # The file is not writable or is /dev/null. The key is kept in memory for this run.


def _open_private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def hash_name(name: str) -> str:
    """Return `name` as HashKnownHosts writes it: |1|SALT|HMAC-SHA1."""
    salt = os.urandom(20)
    digest = hmac.new(salt, name.encode(), "sha1").digest()
    return "|1|" + "|".join(base64.b64encode(part).decode("ascii") for part in (salt, digest))
