"""Checks a start message: whether it makes sense for any node."""

import os
import re

from harbor_programs import which
from harbor_stage_dir import NAME as STAGE


def checked(message):
    """Return a start message with its defaults. ValueError or TypeError is raised if it makes no sense."""
    scripts, env, needs = message["scripts"], message.get("env") or {}, message.get("needs") or []
    if not isinstance(scripts, list) or not scripts or not isinstance(needs, list) or not isinstance(env, dict):
        raise TypeError("scripts and needs have to be lists, env an object")
    for script in scripts:
        check_text(script, "the script")
    for path in needs:
        check_text(path, "a path that the job needs")
    for name, value in env.items():
        if not check_text(name, "the name of a variable") or "=" in name:
            raise ValueError("a variable cannot be called %.100r" % name)
        if value is not None:
            check_text(value, "the variable %s" % name)
    check_text(message["cwd"], "cwd")
    if message.get("stage") is not None and not STAGE.match(message["stage"]):
        raise ValueError("bad directory %.100r" % (message["stage"],))
    for name in ("shell", "log"):
        if message.get(name) is not None:
            check_text(message[name], name)
    if message.get("runtime"):
        float(message["runtime"])
    if message.get("progress"):
        try:
            check_pattern(message["progress"])
        except Exception as error:
            raise ValueError("the progress pattern %.200r cannot be used: %s" % (message["progress"], error))
    return dict(message, env=env, needs=needs, shell=shell_of(message.get("shell") or "/bin/sh"))


def check_text(value, name):
    """Return a value that has to be text without NUL, because the kernel ends every string at a NUL."""
    if not isinstance(value, str):
        raise TypeError("%s is not text: %.100r" % (name, value))
    if "\0" in value:
        raise ValueError("%s contains a NUL byte (embedded null byte)" % name)
    value.encode("utf-8", "surrogateescape")
    return value


def check_pattern(expression):
    pattern = re.compile(expression.encode("utf-8"))
    if pattern.groups < 2:
        raise ValueError("it has %d groups, but two are needed: done and total" % pattern.groups)


def shell_of(name):
    """Return the controller's path of the shell if it exists here, else the node's own shell of that name.

    A bare name stays as it is, because the shell shows it as $0.
    """
    if which(name) is None or not os.path.exists(which(name)):
        return which(os.path.basename(name)) or name
    return name
