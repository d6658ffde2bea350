"""Raises the limit of open files of this process. Each node needs some, so the usual limit of 1024 is soon too low."""

import resource

OWN = 256
"""Snakemake and harbor need this many open files without any node."""
PER_NODE = {"paramiko": 3, "openssh": 8}
"""Each node needs this many open files: sockets, proxies, logs, and the pipes of a process that starts."""
_inherited: int | None = None


def raise_open_file_limit(nodes: int, transport: str) -> str | None:
    """Raise the soft limit to the hard limit. Return a warning if that is too low for this number of nodes."""
    global _inherited
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if _inherited is None:
        _inherited = soft
    for wanted in (hard, 65536, 10240):  # macOS does not accept "unlimited" here
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
            break
        except (OSError, ValueError):
            continue
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    needed = OWN + nodes * PER_NODE.get(transport, max(PER_NODE.values()))
    if limit == resource.RLIM_INFINITY or limit >= needed:
        return None
    return (
        f"this process may open {limit} files, but {nodes} nodes by {transport} need about {needed}. Connections may "
        f"fail. Try: ulimit -n {needed}   # before snakemake; the administrator sets the highest possible value"
    )


def inherited_limit_command() -> str:
    """Return shell code that restores the soft limit with which this process was started.

    Jobs on this machine must not get the raised limit. select() fails for descriptors above 1024, and some old
    programs close all descriptors up to the limit.
    """
    if _inherited is None or _inherited == resource.RLIM_INFINITY:
        return ""
    return f"ulimit -S -n {_inherited} 2>/dev/null; "
