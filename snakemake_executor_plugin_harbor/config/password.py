"""Gets the SSH password, which comes from the environment only.

Everybody on the machine can read a command line with `ps`, and people copy profiles.
"""

import os
import sys
from typing import Protocol

from ..errors import HarborError

PASSWORD_VARIABLE = "SNAKEMAKE_HARBOR_PASSWORD"


class _Settings(Protocol):
    password: str | None


def pop_password(settings: _Settings) -> str | None:
    """Return the password, and remove it from the settings and the environment so that no subprocess inherits it.

    Raises HarborError if the password in the settings does not come from the environment.
    """
    password, settings.password = settings.password, None
    inherited = os.environ.pop(PASSWORD_VARIABLE, None)
    refuse_password_option()
    if (password or None) != (inherited or None):
        raise _password_refused()
    return password or None


def refuse_password_option() -> None:
    """Raise HarborError if the password is on the command line. argparse accepts any prefix of an option's name."""
    names = [word.split("=")[0] for word in sys.argv[1:]]
    if any(name.startswith("--harbor-p") and "--harbor-password".startswith(name) for name in names):
        raise _password_refused()


def _password_refused() -> HarborError:
    return HarborError(
        "--harbor-password: a password on the command line can be read by everybody on this machine, and one in a "
        "profile is easily copied. It is accepted from the environment only.",
        f"read -rs {PASSWORD_VARIABLE} && export {PASSWORD_VARIABLE}",
    )
