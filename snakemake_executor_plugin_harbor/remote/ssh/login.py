"""Logging in through paramiko: agent and key files, then the password, each of them once.

A refused login is never tried again: servers count, and lock accounts. Nothing here shows a password.
"""

import base64
import os
import socket
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..transport import ConnectError
from .config import HostOptions
from .errors import BY_OPENSSH, ConnectErrors

if TYPE_CHECKING:
    import paramiko

AGENT_TIMEOUT_S = 60.0
"""An agent may ask its user to confirm or to touch a token; a dead forwarded agent never answers."""
OPENSSH_MAGIC = b"openssh-key-v1\0"


def log_in(session: "paramiko.Transport", faults: ConnectErrors, password: str | None) -> None:
    """Authenticate `session`. Raises ConnectError: auth, or what cut the connection."""
    _Login(session, faults).run(password)


class _Login:
    """One login: what the server takes, what was offered, and what could not be."""

    def __init__(self, session: "paramiko.Transport", faults: ConnectErrors) -> None:
        self._session = session
        self._faults = faults
        self._user = faults.options.user
        self._takes: Sequence[str] = ()
        self._refused: list[str] = []
        self._locked: list[Path] = []

    def run(self, password: str | None) -> None:
        # Asking with no method at all tells what the server takes, and some hosts let us in on that.
        if self._offer("nothing", lambda: self._session.auth_none(self._user)):
            return
        self._refused.clear()
        options = self._faults.options
        if "publickey" in self._takes and options.public_key_login and self._offer_keys(options):
            return
        if password is not None and self._offer_password(password):
            return
        raise self._denied(password)

    def _offer_keys(self, options: HostOptions) -> bool:
        agent = _Agent(options.agent_socket)
        try:
            for key, label in candidates(options, agent.keys, self._locked):
                if self._offer(label, lambda key=key: self._session.auth_publickey(self._user, key)):  # type: ignore[misc]
                    return True
                if "publickey" not in self._takes:
                    break  # accepted, and the server wants something else on top
        finally:
            agent.close()
        return False

    def _offer_password(self, password: str) -> bool:
        session, user = self._session, self._user
        if "password" in self._takes:
            return self._offer("the password", lambda: session.auth_password(user, password, fallback=False))
        if "keyboard-interactive" in self._takes:
            return self._offer("the password", lambda: session.auth_interactive(user, _answer_with(password)))
        return False

    def _offer(self, label: str, attempt: "Callable[[], Sequence[str]]") -> bool:
        """Whether we are in now. Raises ConnectError when the connection was cut over it."""
        import paramiko

        try:
            more = attempt()
        except paramiko.BadAuthenticationType as error:
            self._takes = error.allowed_types
            self._refused.append(label)
        except (paramiko.SSHException, EOFError, OSError) as error:
            if not self._session.is_active():
                raise self._cut(label) from error
            if "timeout" in str(error).lower():
                raise self._faults.unreached("timeout", "the login takes too long") from error
            refused = isinstance(error, paramiko.AuthenticationException)
            self._refused.append(label if refused else f"{label} (cannot sign: {error})")
        else:
            if more:
                self._takes = more
        return self._session.is_authenticated()

    def _cut(self, label: str) -> ConnectError:
        if not self._refused:
            return self._faults.unreached("closed", "during the login")
        tried = ", ".join([*self._refused, label])
        why = f"the server hung up after {len(self._refused) + 1} offers ({tried})"
        return self._faults.denied(why, hint=self._faults.ssh("-v", "-o", "IdentitiesOnly=yes"))

    def _denied(self, password: str | None) -> ConnectError:
        why = f"it did not take {', '.join(self._refused)}" if self._refused else "there was nothing to offer"
        if not self._refused and not self._locked and password is None:
            files = ", ".join(map(str, self._faults.options.identity_files))
            why = f"there is no key: no file of {files}, and none in ssh-agent"
        if self._takes:
            why += f"; the server takes {', '.join(self._takes)}"
        ours = {"publickey", "password", "keyboard-interactive"} & set(self._takes)
        hint = None if ours else BY_OPENSSH
        return self._faults.denied(why, self._locked, hint)


def _answer_with(password: str) -> "Callable[[str, str, list[tuple[str, bool]]], list[str]]":
    """Answers the one question that asks for a password, once; a code or a second round gets nothing."""
    left = [password]

    def answer(title: str, instructions: str, fields: list[tuple[str, bool]]) -> list[str]:
        if len(fields) == 1 and "password" in fields[0][0].lower() and left:
            return [left.pop()]
        return [""] * len(fields)

    return answer


class _Agent:
    """The keys of ssh-agent; none where there is no agent, or it does not answer."""

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
            # paramiko.Agent knows SSH_AUTH_SOCK only, not IdentityAgent.
            agent._connect(self._socket)  # type: ignore[attr-defined]
            self.keys = list(agent.get_keys())
        except (OSError, SSHException, ValueError):
            pass  # no agent is the same as an agent without keys; _denied() says so

    def close(self) -> None:
        self._socket.close()


@dataclass
class _Identity:
    """A key file: its public half as bytes where it can be known without a passphrase."""

    path: Path
    public: bytes | None
    key: "paramiko.PKey | None"
    locked: bool = False


def candidates(
    options: HostOptions, held: "Sequence[paramiko.PKey]", locked: list[Path]
) -> "Iterator[tuple[paramiko.PKey, str]]":
    """Keys in the order in which ssh offers them, each with its name for messages.

    The agent's keys that a file names, the agent's other keys (not with IdentitiesOnly), then the files' own.
    Files that need a passphrase which the agent does not spare us are added to `locked`.
    """
    identities = [identity for path in options.identity_files if (identity := _read(path)) is not None]
    named = {identity.public: identity.path for identity in identities if identity.public is not None}
    first = [key for key in held if key.asbytes() in named]
    rest = [] if options.identities_only else [key for key in held if key.asbytes() not in named]
    for key in first:
        yield key, f"{named[key.asbytes()]} (in ssh-agent)"
    for key in rest:
        yield key, f"a {key.get_name()} key of ssh-agent"
    spared = {key.asbytes() for key in first}
    for identity in identities:
        if identity.public in spared:
            continue
        if identity.locked:
            locked.append(identity.path)
        if identity.key is not None:
            yield from _with_certificates(identity.key, identity.path, options.certificate_files)


def locked_files(options: HostOptions) -> list[Path]:
    """The user's key files that need a passphrase which ssh-agent does not spare us."""
    locked: list[Path] = []
    agent = _Agent(options.agent_socket)
    list(candidates(options, agent.keys, locked))
    agent.close()
    return locked


def _with_certificates(
    key: "paramiko.PKey", path: Path, certificates: Sequence[Path]
) -> "Iterator[tuple[paramiko.PKey, str]]":
    """The key with each certificate that fits it, then bare, as ssh does."""
    beside = path.with_name(path.name + "-cert.pub")
    for certificate in dict.fromkeys((*certificates, beside)):
        try:
            key.load_certificate(str(certificate))
        except (OSError, ValueError):
            continue  # not there, or of another type of key
        yield key, f"{path} with {certificate}"
    key.public_blob = None
    yield key, str(path)


def _read(path: Path) -> _Identity | None:
    """The key in `path`; None where there is no key that paramiko can use."""
    import paramiko

    try:
        data = path.read_bytes()
    except OSError:
        return None
    public = _public_half(path, data)
    try:
        key = paramiko.PKey.from_path(path)
    except (TypeError, paramiko.PasswordRequiredException):
        return _Identity(path, public, None, locked=True)
    except Exception:
        # Hardware-backed, unknown or broken, in as many exceptions: the agent may still hold it by its public half.
        return _Identity(path, public, None) if public else None
    return _Identity(path, key.asbytes(), key)


def _public_half(path: Path, data: bytes) -> bytes | None:
    """The public key in the wire's form: from the file itself (OpenSSH's own form, or a .pub), or beside it."""
    import paramiko

    for text in (data, _bytes_of(path.with_name(path.name + ".pub"))):
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


def _bytes_of(path: Path) -> bytes:
    try:
        return path.read_bytes() if os.access(path, os.R_OK) else b""
    except OSError:
        return b""
