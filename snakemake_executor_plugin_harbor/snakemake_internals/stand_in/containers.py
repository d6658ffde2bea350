"""The module `snakemake.iocontainers` of a script: the classes of the object `snakemake`, which the script unpickles.

They behave as Snakemake's own, as far as a script can see.
"""

import os
import sys

OVERRIDABLE = ("index", "sort")


class AttributeGuard:
    """Stands for a method of lists whose name may be the name of an item."""

    def __init__(self, name):
        self.name = name

    def __call__(self, *args, **kwargs):
        raise AttributeError(
            self.name + "() cannot be used on snakemake input, output, resources etc.; instead it is a valid name for "
            "items on those objects. If you want e.g. to sort, convert to a plain list before or directly use sorted() "
            "on the object."
        )


class Namedlist(list):
    """A list whose items may have names. An item with a name is an attribute, too."""

    def __init__(self, toclone=None, fromdict=None, custom_map=None):
        list.__init__(self)
        self._names = {}
        self._allowed_overrides = list(OVERRIDABLE)
        for name in OVERRIDABLE:
            setattr(self, name, AttributeGuard(name))
        if toclone is not None:
            self.extend(toclone if custom_map is None else map(custom_map, toclone))
            if isinstance(toclone, Namedlist):
                self._take_names(toclone._get_names())
        if fromdict is not None:
            self.update(fromdict)

    def _add_name(self, name):
        self._set_name(name, len(self) - 1)

    def _set_name(self, name, index, end=None):
        if name not in OVERRIDABLE and hasattr(self.__class__, name):
            raise AttributeError(
                "invalid name for input, output, wildcard, params or log: %s is reserved for internal use" % name
            )
        self._names[name] = (index, end)
        setattr(self, name, self[index] if end is None else Namedlist(toclone=self[index:end]))

    def _get_names(self):
        return iter(self._names.items())

    def _take_names(self, names):
        for name, (index, end) in names:
            self._set_name(name, index, end)

    def update(self, items):
        for name, value in items.items():
            if name in self._names:
                raise ValueError("Key %s already exists in Namedlist" % name)
            self.append(value)
            self._add_name(name)

    def items(self):
        for name in self._names:
            yield name, getattr(self, name)

    def keys(self):
        return self._names.keys()

    def get(self, key, default_value=None):
        value = self.__dict__.get(key, default_value)
        return default_value if isinstance(value, AttributeGuard) else value

    def _clone(self):
        return self.__class__(toclone=self)

    def __getitem__(self, key):
        return getattr(self, key) if isinstance(key, str) else list.__getitem__(self, key)

    def __hash__(self):
        return hash(tuple(self))

    def __str__(self):
        return " ".join(map(str, self))


class InputFiles(Namedlist):
    pass


class OutputFiles(Namedlist):
    pass


class Wildcards(Namedlist):
    pass


class Params(Namedlist):
    pass


class ResourceList(Namedlist):
    pass


class Log(Namedlist):
    pass


def data_frame(value):
    import pandas

    return pandas.DataFrame.from_dict(value)


def series(value):
    import pandas

    return pandas.Series(value)


def array(value):
    import numpy

    return numpy.array(value)


def lazy_frame(value):
    import polars

    return polars.from_dict(value).lazy()


def polars_frame(value):
    import polars

    return polars.from_dict(value)


def polars_series(value):
    import polars

    return polars.Series(**value)


# Snakemake sends objects of these classes as dictionaries and lists.
CONVERTED = {
    "pd.DataFrame": data_frame, "pd.Series": series, "np.ndarray": array,
    "pl.LazyFrame": lazy_frame, "pl.DataFrame": polars_frame, "pl.Series": polars_series,
}  # fmt: skip


class Snakemake:
    """The object `snakemake`. Its attributes are those of the pickled one, except for `params`."""

    @property
    def params(self):
        stored = self._params_store
        params = Params(toclone=list(stored))
        names = {index: name for name, (index, end) in stored._get_names() if end is None}
        for index, kind in self._params_types.items():
            if kind in CONVERTED:
                try:
                    params[index] = CONVERTED[kind](params[index])
                except ImportError as error:
                    raise ImportError(
                        "harbor: params.%s is an object of the class %s, which this Python (%s) cannot make: %s. "
                        "Install the package there, or name a Python that has it in the host file (python:)."
                        % (names.get(index, index), kind, sys.executable, error)
                    )
        params._take_names(stored._get_names())
        return params

    def report_href(self, path):
        return ReportHref(path)

    def log_fmt_shell(self, stdout=True, stderr=True, append=False):
        """Return a redirection for shell() that sends these streams to the log of the rule, "" if it has none."""
        return self._log_shell_redirect(str(self.log), stdout, stderr, append)

    def _log_shell_redirect(self, log, stdout=True, stderr=True, append=False):
        if not log:
            return ""
        to = (">> " if append else "> ") + str(log)
        return {(True, True): " %s 2>&1", (True, False): " %s", (False, True): " 2%s"}[(stdout, stderr)] % to


class ReportHref:
    """The address of a file in Snakemake's report."""

    def __init__(self, path, parent=None, url_args=None, anchor=None):
        import hashlib

        self._parent = parent
        self._id = hashlib.sha256(str(path).encode()).hexdigest() if parent is None else parent._id
        self._path = path if isinstance(path, str) else path.as_posix()
        self._url_args = dict(url_args or {})
        self._anchor = anchor

    def child_path(self, path):
        return self.__class__(path, parent=self)

    def url_args(self, **args):
        return self.__class__(self._path, self._parent, args)

    def anchor(self, anchor):
        return self.__class__(self._path, self._parent, self._url_args, anchor)

    def __str__(self):
        import urllib.parse

        path = os.path.basename(self._path) if self._parent is None else self._path
        args = ["%s=%s" % (key, urllib.parse.quote(str(value))) for key, value in self._url_args.items()]
        anchor = "#" + urllib.parse.quote(self._anchor) if self._anchor else ""
        return "../%s/%s%s%s" % (self._id[:16], path, "?" + "&".join(args) if args else "", anchor)
