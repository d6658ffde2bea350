"""An SSH server in this process. It checks passwords, which a test's sshd cannot do without accounts of its own.

It runs no command: it answers an exec with a line on stdout and exit status 0.
"""

import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import paramiko

ANSWER = b"in\n"


class _Rules(paramiko.ServerInterface):
    """Decides for one connection which logins succeed. It adds each tried method to the server's list."""

    def __init__(self, server: "PasswordServer") -> None:
        self._server = server
        self._passed: set[str] = set()

    def get_allowed_auths(self, username: str) -> str:
        left = [method for method in self._server.methods if method not in self._passed]
        return ",".join(left[:1] if self._server.all_of_them else left)

    def _judge(self, method: str, good: bool) -> int:
        self._server.tried.append(method)
        if method not in self._server.methods or not good:
            return paramiko.AUTH_FAILED
        self._passed.add(method)
        if self._server.all_of_them and self._passed < set(self._server.methods):
            return paramiko.AUTH_PARTIALLY_SUCCESSFUL
        return paramiko.AUTH_SUCCESSFUL

    def check_auth_none(self, username: str) -> int:
        return paramiko.AUTH_SUCCESSFUL if not self._server.methods else paramiko.AUTH_FAILED

    def check_auth_publickey(self, username: str, key: paramiko.PKey) -> int:
        return self._judge("publickey", True)

    def check_auth_password(self, username: str, password: str) -> int:
        return self._judge("password", password == self._server.password)

    def check_auth_interactive(self, username: str, submethods: str) -> "int | paramiko.InteractiveQuery":
        if "keyboard-interactive" not in self._server.methods:
            return paramiko.AUTH_FAILED
        return paramiko.InteractiveQuery("", "", *[(prompt, False) for prompt in self._server.prompts])

    def check_auth_interactive_response(self, responses: list[str]) -> int:
        self._server.answers.append(list(responses))
        return self._judge("keyboard-interactive", list(responses) == [self._server.password])

    def check_channel_request(self, kind: str, chanid: int) -> int:
        return paramiko.OPEN_SUCCEEDED

    def check_channel_exec_request(self, channel: paramiko.Channel, command: bytes) -> bool:
        threading.Thread(target=self._answer, args=(channel,), daemon=True).start()
        return True

    @staticmethod
    def _answer(channel: paramiko.Channel) -> None:
        # This round trip makes sure that the client knows that the command runs before it gets the command's output.
        channel.get_transport().global_request("sync@harbor.test", wait=True)
        channel.sendall(ANSWER)
        channel.send_exit_status(0)
        channel.close()


class PasswordServer:
    """Accepts one of `methods`. With `all_of_them`, it requires all of them, one after the other."""

    def __init__(
        self,
        password: str,
        methods: Sequence[str] = ("password",),
        all_of_them: bool = False,
        prompts: Sequence[str] = ("Password: ",),
    ) -> None:
        self.password = password
        self.methods = list(methods)
        self.all_of_them = all_of_them
        self.prompts = list(prompts)
        self.tried: list[str] = []
        self.answers: list[list[str]] = []
        self.key = paramiko.ECDSAKey.generate()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._sessions: list[paramiko.Transport] = []
        self.port = int(self._listener.getsockname()[1])

    @property
    def known_hosts_line(self) -> str:
        return f"[127.0.0.1]:{self.port} {self.key.get_name()} {self.key.get_base64()}\n"

    def serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return  # the server has been closed
            session = paramiko.Transport(connection)
            session.add_server_key(self.key)
            self._sessions.append(session)
            session.start_server(event=threading.Event(), server=_Rules(self))

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for session in self._sessions:
            session.close()


@contextmanager
def serving(server: PasswordServer) -> Iterator[PasswordServer]:
    thread = threading.Thread(target=server.serve, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.close()
        thread.join(5)
