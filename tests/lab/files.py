"""Make the files of a lab: keys, the configuration of ssh and sshd, and each host's own files in /etc."""

import sys
import uuid
from collections.abc import Iterable, Mapping
from pathlib import Path

from tests.sshd import keygen, public_key

PROJECT = Path(__file__).resolve().parents[2]
SSHD_CONFIG = """\
HostKey /run/lab/host_key
AuthorizedKeysFile /run/lab/authorized_keys
PidFile /run/sshd.pid
StrictModes no
UsePAM no
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin yes
PrintMotd no
LogLevel VERBOSE
Subsystem sftp internal-sftp
"""
CLIENT = """\
Host {host}
  HostName {address}
  User root
  IdentityFile {key}
  IdentitiesOnly yes
  UserKnownHostsFile {known_hosts}
  GlobalKnownHostsFile /dev/null
  StrictHostKeyChecking yes
"""


def write(directory: Path, addresses: dict[str, str], shared: Mapping[str, Iterable[Path]]) -> None:
    """Write all files that boot.sh, sshd and ssh read. `addresses` and `shared` have the hosts as keys."""
    key = keygen(directory / "id_ed25519")
    known_hosts = directory / "known_hosts"
    (directory / "ssh_config").write_text(
        "".join(CLIENT.format(host=h, address=a, key=key, known_hosts=known_hosts) for h, a in addresses.items())
    )
    (directory / "visible").write_text(lines(visible()))
    names = lines(["127.0.0.1 localhost", *(f"{address} {host}" for host, address in addresses.items())])
    with known_hosts.open("w") as known:
        for host, address in addresses.items():
            for part in ("etc", "disk", "root"):
                (directory / host / part).mkdir(parents=True)
            (directory / host / "link").touch()
            (directory / host / "shared").write_text(lines(shared[host]))
            etc = directory / host / "etc"
            known.write(f"{host},{address} {public_key(keygen(etc / 'host_key'))}\n")
            (etc / "sshd_config").write_text(SSHD_CONFIG)
            (etc / "authorized_keys").write_text(public_key(key) + "\n")
            (etc / "hosts").write_text(names)
            (etc / "hostname").write_text(f"{host}\n")
            (etc / "machine-id").write_text(f"{uuid.uuid4().hex}\n")
            # root has no password but is not locked, because sshd refuses a locked user even with a valid key.
            (etc / "shadow").write_text("root:*:20000:0:99999:7:::\n")


def visible() -> list[Path]:
    """Return the directories that tests need on a host: this project and the interpreters."""
    wanted = {PROJECT, Path(sys.prefix), Path(sys.base_prefix), Path.home() / ".pyenv"}
    return sorted(path.resolve() for path in wanted if path.is_dir() and path.resolve() != Path("/usr"))


def lines(items: Iterable[object]) -> str:
    return "".join(f"{item}\n" for item in items)
