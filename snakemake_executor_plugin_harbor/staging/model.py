"""What is moved, and how it went."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Source:
    """A file or directory of the controller that an attempt needs. `name` is its path in the attempt's directory.

    The job may change a file that is `writable`.
    """

    path: str
    name: str
    writable: bool = False


@dataclass(frozen=True)
class Wanted:
    """A file or directory that an attempt may have made. `name` is its path in the attempt's directory, and `path` is
    where it goes on the controller.
    """

    name: str
    path: str


@dataclass(frozen=True)
class Moved:
    """What has crossed the connection: files whose content was moved, the bytes of these contents, and seconds.

    `missing` are the files that the attempt has not made. `sizes` are the bytes of each source, by its path, or of each
    file or directory that was fetched.
    """

    files: int = 0
    bytes: int = 0
    seconds: float = 0.0
    missing: Sequence[Wanted] = field(default=())
    sizes: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Transfer:
    """A transfer that is under way, of an attempt with this directory. `total` bytes have to cross the connection. The
    number is not known of what is fetched.
    """

    directory: str
    sends: bool
    done: int
    total: int | None


class MoveFailed(Exception):
    """Files could not be moved. `kind` says whose fault it is.

    link: the connection broke or could not be opened. disk: there is no room on the node. node: a file could not be
    written or read there. changed: an input changed while it was sent, or an output while it was fetched. local: a file
    could not be read or written here. unsafe: an output is a device, or a link that leads out of its directory, or the
    node has sent what it was not asked for.
    """

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind
        self.message = message
