"""Finds the keys for a login: those in ssh-agent and those in key files, in the order in which ssh offers them."""

import base64
import os
import socket
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from .host_options import HostOptions

if TYPE_CHECKING:
    import paramiko

AGENT_TIMEOUT_S = 60.0
"""ssh-agent may ask its user to confirm or to touch a token. A dead forwarded agent never answers."""
OPENSSH_MAGIC = b"openssh-key-v1\0"


class AgentKeys:
    """Holds the keys in ssh-agent. There are none if there is no agent or it does not answer."""

    def __init__(self, path: str | None) -> None:
        self.keys: list[paramiko.PKey] = []
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        if path is None:
            return
        from paramiko.agent import AgentSSH
        from paramiko.ssh_exception import SSHException

        try:
            self._socket.settimeout(AGENT_TIMEOUT_S)
            self._socket.connect(path)
            agent = AgentSSH()
            # paramiko.Agent uses SSH_AUTH_SOCK only. It does not know IdentityAgent.
            agent._connect(self._socket)  # type: ignore[attr-defined]
            self.keys = list(agent.get_keys())
        except (OSError, SSHException, ValueError):
            pass  # An agent that does not answer counts as an agent without keys. The error of the login mentions it.

    def close(self) -> None:
        """Close the connection to the agent. The keys cannot sign after that."""
        self._socket.close()


def candidates(
    options: HostOptions, agent_keys: "Sequence[paramiko.PKey]", locked: list[Path]
) -> "Iterator[tuple[paramiko.PKey, str]]":
    """Yield the keys in the order in which ssh offers them, each with its name for messages.

    First come the agent's keys that a file names, then the agent's other keys (not with IdentitiesOnly), then the keys
    of the files. Files that need a passphrase and whose key is not in the agent are added to `locked`.
    """
    identities = [identity for path in options.identity_files if (identity := _read(path)) is not None]
    named = {identity.public: identity.path for identity in identities if identity.public is not None}
    first = [key for key in agent_keys if key.asbytes() in named]
    rest = [] if options.identities_only else [key for key in agent_keys if key.asbytes() not in named]
    for key in first:
        yield key, f"{named[key.asbytes()]} (in ssh-agent)"
    for key in rest:
        yield key, f"a {key.get_name()} key of ssh-agent"
    offered = {key.asbytes() for key in first}
    for identity in identities:
        if identity.public in offered:
            continue
        if identity.locked:
            locked.append(identity.path)
        if identity.key is not None:
            yield from _with_certificates(identity.key, identity.path, options.certificate_files)


def locked_files(options: HostOptions) -> list[Path]:
    """Return the user's key files that need a passphrase and whose key is not in ssh-agent."""
    locked: list[Path] = []
    agent = AgentKeys(options.agent_socket)
    list(candidates(options, agent.keys, locked))
    agent.close()
    return locked


@dataclass
class _Identity:
    """Describes a key file.

    `public` is the public key, if it is known without a passphrase. `key` is None if the file needs a passphrase.
    """

    path: Path
    public: bytes | None
    key: "paramiko.PKey | None"
    locked: bool = False


def _with_certificates(
    key: "paramiko.PKey", path: Path, certificates: Sequence[Path]
) -> "Iterator[tuple[paramiko.PKey, str]]":
    """Yield the key with each certificate that fits it, then without one, as ssh does."""
    beside = path.with_name(path.name + "-cert.pub")
    for certificate in dict.fromkeys((*certificates, beside)):
        try:
            key.load_certificate(str(certificate))
        except (OSError, ValueError):
            continue  # the file does not exist, or the certificate is for another type of key
        yield key, f"{path} with {certificate}"
    key.public_blob = None
    yield key, str(path)


def _read(path: Path) -> _Identity | None:
    """Return the key in `path`, or None if there is no key that paramiko can use."""
    import paramiko

    try:
        data = path.read_bytes()
    except OSError:
        return None
    public = _public_key(path, data)
    try:
        key = paramiko.PKey.from_path(path)
    except (TypeError, paramiko.PasswordRequiredException):
        return _Identity(path, public, None, locked=True)
    except Exception:
        # The key is hardware-backed, of an unknown type or broken; paramiko raises many kinds of errors for these.
        # ssh-agent may still hold the key that belongs to this public key.
        return _Identity(path, public, None) if public else None
    return _Identity(path, key.asbytes(), key)


def _public_key(path: Path, data: bytes) -> bytes | None:
    """Return the public key in binary form. It is in the file itself (OpenSSH's format or a .pub) or in FILE.pub."""
    import paramiko

    for text in (data, _read_bytes(path.with_name(path.name + ".pub"))):
        words = text.split()
        try:
            if text.startswith(b"-----BEGIN OPENSSH"):
                body = base64.b64decode(b"".join(text.splitlines()[1:-1]))
                fields = paramiko.Message(body[len(OPENSSH_MAGIC) :])
                for _ in ("cipher", "kdf", "options of kdf"):
                    fields.get_binary()
                fields.get_int()
                return fields.get_binary()
            if len(words) >= 2 and words[0].startswith((b"ssh-", b"ecdsa-", b"sk-")):
                return base64.b64decode(words[1])
        except ValueError:
            continue
    return None


def _read_bytes(path: Path) -> bytes:
    try:
        return path.read_bytes() if os.access(path, os.R_OK) else b""
    except OSError:
        return b""
