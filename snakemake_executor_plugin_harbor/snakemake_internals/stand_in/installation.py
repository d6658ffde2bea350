"""The module `harbor_stand_in` of a script: it makes the other files modules of a package `snakemake`.

If this Python has Snakemake, nothing is installed, and the script uses that.
"""

import importlib
import importlib.machinery
import importlib.util
import logging
import os
import sys
import types

# Names of modules that other versions do not have: Python 3.13 and numpy 2 put them into pickled objects.
FORMER_NAMES = (("pathlib._local", "pathlib"), ("numpy._core", "numpy.core"))


class ScriptModule(types.ModuleType):
    """A module from which the object `snakemake` of the main program can be imported."""

    @property
    def snakemake(self):
        try:
            return sys.modules["__main__"].snakemake
        except (KeyError, AttributeError):
            raise AttributeError("snakemake")


class Package(types.ModuleType):
    """The package `snakemake`, in which `shell` is the function and not the module."""

    @property
    def shell(self):
        return importlib.import_module("snakemake.shell").shell

    @shell.setter
    def shell(self, module):
        pass  # An import sets the name to the module.


class Modules:
    """An import hook for the modules of the stand-in. It says why another module of Snakemake cannot be imported."""

    def __init__(self, sources):
        self.sources = sources

    def find_spec(self, name, path=None, target=None):
        if name in self.sources:
            return importlib.machinery.ModuleSpec(name, self)
        if name.startswith("snakemake."):
            raise ModuleNotFoundError(
                "No module named '%s'. This Python (%s) has no Snakemake, and harbor's stand-in has only what most "
                "scripts use. Install Snakemake there, or name a Python that has it in the host file (python:)."
                % (name, sys.executable),
                name=name,
            )
        return None

    def create_module(self, spec):
        return None

    def exec_module(self, module):
        name = module.__name__
        exec(compile(self.sources[name], "<harbor: %s>" % name, "exec"), module.__dict__)


def has_snakemake():
    """Return whether this Python has a Snakemake whose classes are where the pickled object expects them."""
    if "snakemake" in sys.modules:
        return True
    try:
        spec = importlib.util.find_spec("snakemake")
    except (ImportError, ValueError):
        return False
    folders = spec.submodule_search_locations if spec else None
    return any(os.path.isfile(os.path.join(folder, "iocontainers.py")) for folder in folders or ())


def install(version, sources):
    """`sources` are the texts of modules by name. A module is made when it is imported, because that takes time."""
    if has_snakemake():
        return
    package = add_module("snakemake", Package("snakemake"))
    package.__path__ = []
    package.__version__ = version
    add_module("snakemake.exceptions").WorkflowError = type("WorkflowError", (Exception,), {})
    add_module("snakemake.logging").logger = logging.getLogger("snakemake.logging")
    add_module("snakemake.script", ScriptModule("snakemake.script"))
    sys.meta_path.insert(0, Modules(sources))


def add_module(name, module=None):
    module = sys.modules[name] = module or types.ModuleType(name)
    parent, _, last = name.rpartition(".")
    if parent:
        setattr(sys.modules[parent], last, module)
    return module


def checked(pickled, classes):
    """Return `pickled` if this Python has all classes of the objects in it. Otherwise end the script with the reason.

    `classes` are module, name, and where in the rule an object of the class stands.
    """
    for module, name, where in classes:
        try:
            found = imported(module)
            for part in name.split("."):
                found = getattr(found, part)
        except Exception as error:
            sys.exit(
                "harbor: %s is an object of the class %s.%s, which this Python (%s on %s) does not have: %s: %s\n"
                "Pass plain values (numbers, texts, lists, dictionaries), or install the package there, or name a "
                "Python that has it in the host file (python:)."
                % (where, module, name, sys.executable, os.uname()[1], type(error).__name__, error)
            )
    return pickled


def imported(name):
    """Import a module, or the one that has its classes in this version. The latter gets the name of the former, too."""
    try:
        return importlib.import_module(name)
    except ImportError:
        for new, former in FORMER_NAMES:
            if (name + ".").startswith(new + "."):
                sys.modules[name] = importlib.import_module(former + name[len(new) :])
                return sys.modules[name]
        raise
