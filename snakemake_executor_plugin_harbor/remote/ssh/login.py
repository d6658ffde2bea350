"""Logs in through paramiko: first with the keys, then with the password. Each of them is offered once.

A refused login is never retried, because servers count refused logins and lock accounts. No message contains a
password.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..transport import ConnectError
from .errors import USE_OPENSSH, ConnectErrors
from .host_options import HostOptions
from .keys import AgentKeys, candidates

if TYPE_CHECKING:
    import paramiko

    Answer = Callable[[str, str, list[tuple[str, bool]]], list[str]]


def log_in(session: "paramiko.Transport", errors: ConnectErrors, password: str | None) -> None:
    """Authenticate `session`. Raises ConnectError of the kind "auth", or of another kind if the connection broke."""
    _Login(session, errors).run(password)


class _Login:
    """One login. It keeps the methods that the server accepts, and the keys that were refused or are locked."""

    def __init__(self, session: "paramiko.Transport", errors: ConnectErrors) -> None:
        self._session = session
        self._errors = errors
        self._user = errors.options.user
        self._server_methods: Sequence[str] = ()
        self._refused: list[str] = []
        self._accepted = ""
        self._locked: list[Path] = []

    def run(self, password: str | None) -> None:
        # A request with the method "none" tells which methods the server accepts. Some servers let us in with it.
        if self._try("nothing", lambda: self._session.auth_none(self._user)):
            return
        self._refused.clear()
        options = self._errors.options
        if "publickey" in self._server_methods and options.public_key_login and self._try_keys(options):
            return
        if password is not None and self._try_password(password):
            return
        raise self._login_refused(password)

    def _try_keys(self, options: HostOptions) -> bool:
        agent = AgentKeys(options.agent_socket)
        try:
            for key, label in candidates(options, agent.keys, self._locked):
                if self._try(label, lambda key=key: self._session.auth_publickey(self._user, key)):  # type: ignore[misc]
                    return True
                if "publickey" not in self._server_methods:
                    break  # the key was accepted, and the server requires another method in addition
        finally:
            agent.close()
        return False

    def _try_password(self, password: str) -> bool:
        session, user = self._session, self._user
        if "password" in self._server_methods:
            return self._try("the password", lambda: session.auth_password(user, password, fallback=False))
        if "keyboard-interactive" in self._server_methods:
            return self._try("the password", lambda: session.auth_interactive(user, _answer_with(password)))
        return False

    def _try(self, label: str, attempt: "Callable[[], Sequence[str]]") -> bool:
        """Return True if the login is complete now. Raises ConnectError if the connection broke."""
        import paramiko

        try:
            further_methods = attempt()
        except paramiko.BadAuthenticationType as error:
            self._server_methods = error.allowed_types
            self._refused.append(label)
        except (paramiko.SSHException, EOFError, OSError) as error:
            if not self._session.is_active():
                raise self._connection_broke(label) from error
            if "timeout" in str(error).lower():
                raise self._errors.not_connected("timeout", "the login takes too long") from error
            refused = isinstance(error, paramiko.AuthenticationException)
            self._refused.append(label if refused else f"{label} (cannot sign: {error})")
        else:
            if further_methods:
                self._server_methods = further_methods
                self._accepted = label
        return self._session.is_authenticated()

    def _connection_broke(self, label: str) -> ConnectError:
        if not self._refused:
            return self._errors.not_connected("closed", "during the login")
        tried = ", ".join([*self._refused, label])
        why = f"the server closed the connection after {len(self._refused) + 1} offers ({tried})"
        return self._errors.login_refused(why, hint=self._errors.ssh_command("-v", "-o", "IdentitiesOnly=yes"))

    def _login_refused(self, password: str | None) -> ConnectError:
        if self._accepted:
            why = f"it accepted {self._accepted} and asks for more (a code or a password, for example)"
            why += f"; it did not accept {', '.join(self._refused)}" if self._refused else ""
        elif self._refused:
            why = f"it did not accept {', '.join(self._refused)}"
        else:
            why = "there was nothing to offer"
        if not self._accepted and not self._refused and not self._locked and password is None:
            files = ", ".join(map(str, self._errors.options.identity_files))
            why = f"there is no key: no file of {files} exists, and ssh-agent has none"
        if self._server_methods:
            why += f"; the server accepts {', '.join(self._server_methods)}"
        # A further key does not help where a key was accepted and another method is required in addition.
        ours = {"publickey"} if self._accepted else {"publickey", "password", "keyboard-interactive"}
        hint = None if ours & set(self._server_methods) else USE_OPENSSH
        if hint is None and "gssapi-with-mic" in self._server_methods:
            hint = f"{USE_OPENSSH} (if you have a Kerberos ticket)"
        return self._errors.login_refused(why, self._locked, hint)


def _answer_with(password: str) -> "Answer":
    """Return a function that answers the one question for a password, once. Other questions get an empty answer."""
    left = [password]

    def answer(title: str, instructions: str, fields: list[tuple[str, bool]]) -> list[str]:
        if len(fields) == 1 and "password" in fields[0][0].lower() and left:
            return [left.pop()]
        return [""] * len(fields)

    return answer
