"""How many files this process may have open: each node takes some, and the usual limit of 1024 is soon too low."""

import resource

OWN = 256
"""What Snakemake and harbor themselves need."""
PER_NODE = {"paramiko": 3, "openssh": 8}
"""Sockets, proxies, logs and the pipes of a process that starts."""
_inherited: int | None = None


def raise_open_file_limit(nodes: int, transport: str) -> str | None:
    """Raise the soft limit to the hard one; a warning if that is too low for so many nodes."""
    global _inherited
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if _inherited is None:
        _inherited = soft
    for wanted in (hard, 65536, 10240):  # macOS takes no "unlimited" here
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
        f"this process may open {limit} files, and {nodes} nodes by {transport} need about {needed}. Connections may "
        f"fail. Try: ulimit -n {needed}   # before snakemake; the administrator sets how high it can go"
    )


def inherited_limit_command() -> str:
    """Shell code that gives a command the soft limit that we were started with.

    Jobs inherit it: select() fails above descriptor 1024, and some old programs close all up to the limit.
    """
    if _inherited is None or _inherited == resource.RLIM_INFINITY:
        return ""
    return f"ulimit -S -n {_inherited} 2>/dev/null; "
