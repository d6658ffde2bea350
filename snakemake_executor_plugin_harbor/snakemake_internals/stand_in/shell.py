"""The module `snakemake.shell` of a script: the function shell(), with which scripts and wrappers run commands."""

import os
import shutil
import subprocess
import sys
import tempfile

from snakemake.exceptions import WorkflowError
from snakemake.utils import format

THREADS = ("OMP_NUM_THREADS", "GOTO_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS",
           "NUMEXPR_NUM_THREADS")  # fmt: skip
# Bytes. Linux takes at most 128 KiB in one argument.
LONG_COMMAND = 16 * 4096 - 1


class shell:
    """A class that is called as a function, as in Snakemake."""

    _executable = None
    _prefix = None
    _suffix = ""

    @classmethod
    def get_executable(cls):
        return cls._executable

    @classmethod
    def executable(cls, cmd):
        cmd = None if cmd is None else str(cmd)
        if cmd and not os.path.isabs(cmd):
            path = shutil.which(cmd)
            if not path:
                raise WorkflowError("Cannot set default shell %s because it is not available in your PATH." % cmd)
            cmd = path
        cls._executable = cmd

    @classmethod
    def prefix(cls, prefix):
        cls._prefix = format(prefix, stepout=2)

    @classmethod
    def suffix(cls, suffix):
        cls._suffix = format(suffix, stepout=2)

    @classmethod
    def check_output(cls, cmd, **kwargs):
        return subprocess.check_output(cmd, shell=True, executable=cls._executable, **kwargs)

    def __new__(cls, cmd, *args, **kwargs):
        iterable, read = kwargs.pop("iterable", False), kwargs.pop("read", False)
        kwargs.pop("bench_record", None)
        if "stepout" in kwargs:
            raise KeyError("Argument stepout is not allowed in shell command.")
        cmd = format(cmd, *args, stepout=2, **kwargs)
        caller = sys._getframe(1).f_locals
        threads = kwargs.get("threads", getattr(caller.get("snakemake"), "threads", 1))
        resources = kwargs.get("resources", {})
        executable = resources.get("shell_exec") or cls._executable
        prefix = cls._prefix
        if prefix is None and executable and os.path.basename(executable).lower() == "bash":
            prefix = "set -euo pipefail; "
        cmd = " ".join((prefix or "", cmd, cls._suffix)).strip()
        env = dict(os.environ, **{name: str(threads) for name in THREADS})
        if resources.get("tmpdir"):
            env.update({name: str(resources.get("tmpdir")) for name in ("TMPDIR", "TMP", "TEMPDIR", "TEMP")})
        env.update(kwargs.get("additional_envvars", {}))
        file = None
        if len(cmd.replace("'", r"'\''")) + 2 > LONG_COMMAND:
            handle, file = tempfile.mkstemp(suffix=".sh")
            with os.fdopen(handle, "w") as script:
                script.write(cmd + "\n")
            cmd = '"%s" "%s"' % (executable or "/bin/sh", file)
        stdout = subprocess.PIPE if iterable or read else None
        process = subprocess.Popen(
            cmd, shell=True, executable=executable, stdout=stdout, universal_newlines=bool(stdout), env=env
        )
        if iterable:
            return lines_of(process, cmd, file)
        text = process.stdout.read() if read else None
        conclude(process, cmd, file)
        return text


def lines_of(process, cmd, file):
    for line in process.stdout:
        yield line[:-1]
    conclude(process, cmd, file)


def conclude(process, cmd, file):
    """Wait for the end of a command, and raise an error if it has failed. `file` is the file that it was written to."""
    code = process.wait()
    if file:
        os.remove(file)
    if code:
        raise subprocess.CalledProcessError(code, cmd)


shell.executable("bash" if shutil.which("bash") else "sh")
