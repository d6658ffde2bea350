"""Turns the limits of a Parallel-Task-Harbor configuration into hosts in the form of --harbor-hosts.

Its document calls the section [RESOURCE]. Its program reads [LOCAL] without remote and [SERVER_LIST] with it.
"""

import re

from ...errors import HarborError
from ..host import parse_host
from .ini import IniFile, Option, did_you_mean

SECTIONS = ("RESOURCE", "LOCAL", "SERVER_LIST")
MAX_CORE = "MAX_CORE"
_SETTING_NAME = re.compile("[A-Z0-9]+(_[A-Z0-9]+)+|(?i:max|min|cores?|load|mem).*")
"""In [RESOURCE], such a name is that of a limit and not of a host."""
_SETTINGS = {
    "load": "a limit of the load is a setting of harbor: --harbor-max-load",
    "mem": "a limit of the memory is a setting of harbor: --harbor-min-free-mem-mb",
}


def hosts(file: IniFile, remote: bool) -> tuple[str, ...]:
    """Return the hosts: localhost with MAX_CORE jobs at once, or the host list. Both are checked."""
    local: list[Option] = []
    servers: list[Option] = []
    for section in SECTIONS:
        for option in file.sections.get(section, {}).values():
            if section != "SERVER_LIST" and option.name == MAX_CORE:
                local.append(option)
            elif section == "LOCAL" or (section == "RESOURCE" and _SETTING_NAME.fullmatch(option.name)):
                raise _unknown(file, option)
            else:
                servers.append(option)
    if len(local) > 1:
        raise file.error(local[1], f"it is there twice; the other is in [{local[0].section}].")
    here = tuple(f"{_number(file, option)}/localhost" for option in local)
    there = tuple(_host(file, option) for option in servers)
    if remote and not there:
        raise file.section_error(
            "SERVER_LIST", " is missing; with --remote_enable = 1 it holds the hosts, each as `name = CORES USER PORT`."
        )
    if not remote and not here:
        raise file.section_error(
            "LOCAL", f" {MAX_CORE}: is missing; with --remote_enable = 0 it is the number of jobs at once."
        )
    return there if remote else here


def _unknown(file: IniFile, option: Option) -> HarborError:
    close = did_you_mean(option.name, [MAX_CORE])
    why = next((f"{text}." for word, text in _SETTINGS.items() if word in option.name.lower()), close)
    return file.error(option, f"unknown option; {why}")


def _number(file: IniFile, option: Option) -> int:
    text = option.value.strip()
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise file.error(option, f"expected a number of jobs, got {text!r}.")
    return int(text)


def _host(file: IniFile, option: Option) -> str:
    """Return `name = CORES USER PORT` as CORES/USER@name:PORT. USER and PORT may be missing; name may be USER@name."""
    form = "the form is `name = CORES USER PORT`."
    values = option.value.split()
    if not 1 <= len(values) <= 3:
        raise file.error(option, f"{len(values) or 'no'} values; {form}")
    user, _, name = option.name.rpartition("@")
    if len(values) > 1:
        if user and user != values[1]:
            raise file.error(option, f"two users are given, {user} and {values[1]}.")
        user = values[1]
    port = f":{values[2]}" if len(values) > 2 else ""
    text = f"{values[0]}/{user}{'@' if user else ''}{name}{port}"
    try:
        parse_host(text, "")
    except HarborError as error:
        why = error.message.removeprefix(": ").partition(" The form is")[0]
        raise file.error(option, f"{why} T{form[1:]}") from error
    return text
