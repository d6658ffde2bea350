"""Stand in for the modules `src.*` of Parallel-Task-Harbor where the user has no checkout of it.

The classes PreProcessor and PostProcessor of users derive from its abstract classes and use its class Request. If the
working directory has the module that they import, that one is used. Otherwise any `src.NAME` is a module of this file,
in which every name that ends in `PreProcessor`, `PostProcessor` or `Request` is the class below.
"""

import importlib
import importlib.machinery
import os
import shutil
import sys


class Request:
    """The values of a case by name, and the files that its directory needs."""

    def __init__(self, values, copies=None):
        self.req_dict, self.cp_dict = dict(values), dict(copies or {})

    def getValue(self, key):
        return self.req_dict.get(key, "N")

    def getCopyDict(self):
        return self.cp_dict

    def getCopyValue(self, key):
        return self.cp_dict[key]


class AbstractPreProcessor:
    """The queue of requests, and functions for directories that classes of users call."""

    def __init__(self, *ignored):
        self.base_path, self.req_buffer = "", []

    def pushRequest(self, request):
        self.req_buffer.append(request)

    def pullRequest(self):
        return self.req_buffer.pop(0)

    def getReqNum(self):
        return len(self.req_buffer)

    def _removeOlder(self, folder):
        if os.path.isdir(folder):
            shutil.rmtree(folder)

    def _makeDir(self, folder):
        self._removeOlder(folder)
        os.mkdir(folder)

    def _makeDir_no_rm(self, folder):
        new = not os.path.isdir(folder)
        if new:
            os.mkdir(folder)
        return new


class AbstractPostProcessor:
    def __init__(self, *ignored):
        pass


CLASSES = {"PreProcessor": AbstractPreProcessor, "PostProcessor": AbstractPostProcessor, "Request": Request}


def class_called(name):
    """Return the class for a name that a module of `src` is asked for."""
    for end, found in CLASSES.items():
        if name.endswith(end):
            return found
    raise AttributeError(
        f"{name} is not among the names that harbor has in place of Parallel-Task-Harbor's modules "
        "(names that end in PreProcessor, PostProcessor or Request)"
    )


class Finder:
    """Find `src` and every `src.NAME`. It is the last finder, so that the modules of a checkout come first."""

    def find_spec(self, fullname, path=None, target=None):
        package, _, name = fullname.rpartition(".")
        if fullname.split(".")[0] != "src" or (package and name[:1].isupper()):
            # A capital begins the name of a class, which must not become a module.
            return None
        return importlib.machinery.ModuleSpec(fullname, self, is_package=True)

    def create_module(self, spec):
        return None

    def exec_module(self, module):
        _give_names(module)
        module.__all__ = ["AbstractPreProcessor", "AbstractPostProcessor", "Request"]


def _give_names(module):
    module.__getattr__ = class_called


def install():
    """Make `src` importable. A package `src` of the user without names of its own gets those of the stand-in."""
    sys.meta_path.append(Finder())
    src = importlib.import_module("src")
    if not hasattr(src, "Request"):
        _give_names(src)
