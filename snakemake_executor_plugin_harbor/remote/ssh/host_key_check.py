"""Checks the host key that a server shows to paramiko, as the ssh program would."""

from typing import TYPE_CHECKING

from .errors import ConnectErrors
from .host_options import HostOptions
from .known_hosts import HostKey, Verdict, accept_new, check_key, entries_of

if TYPE_CHECKING:
    import paramiko


def prefer_known_keys(session: "paramiko.Transport", options: HostOptions) -> None:
    """Ask the server first for the types of host key that known_hosts lists.

    Otherwise the server may show another one of its keys, and a known host appears to be unknown.
    """
    security = session.get_security_options()
    ours = list(security.key_types)
    wanted = [name for name in options.host_key_algorithms if name in ours] or ours
    found = entries_of(options.known_name, options) or entries_of(options.hostname, options)
    known = {entry.key.type for entry in found if not entry.marker}
    known |= {"rsa-sha2-512", "rsa-sha2-256"} if "ssh-rsa" in known else set()
    security.key_types = sorted(wanted, key=lambda name: name not in known)


def check_host_key(session: "paramiko.Transport", errors: ConnectErrors) -> bool:
    """Check the server's key. Raises ConnectError (host_key_unknown, host_key_changed).

    Returns False if the key is wrong and StrictHostKeyChecking=no accepts it. Such a host must not get a password.
    """
    options = errors.options
    shown = session.get_remote_server_key()
    key = HostKey(shown.get_name(), shown.get_base64())
    verdict, found = check_key(options, key)
    plain = [entry for entry in found if not entry.marker]
    # A host that is known only by keys of other types is not new. Another machine may have taken its place.
    if verdict is Verdict.UNKNOWN and options.strict == "accept-new" and not plain:
        verdict = accept_new(options, key)
    if verdict is Verdict.REVOKED:
        where = next(entry.where for entry in found if entry.marker == "@revoked" and entry.key == key)
        raise errors.changed_key(key.fingerprint, where, revoked=True)
    if verdict is Verdict.KNOWN or options.strict == "no":
        return verdict is not Verdict.CHANGED
    authority = next((entry.where for entry in found if entry.marker == "@cert-authority"), None)
    if verdict is Verdict.UNKNOWN and authority is not None:
        raise errors.key_of_authority(key.fingerprint, authority)
    if verdict is Verdict.UNKNOWN:
        raise errors.unknown_key(key.fingerprint, len(plain))
    where = next((entry.where for entry in plain if entry.key.type == key.type), "the memory of this run")
    raise errors.changed_key(key.fingerprint, where)
