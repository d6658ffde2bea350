"""Compute expressions of a case's parameters: arithmetic such as `{size} * 8`, and conditions such as `size>100`.

Python's parser reads them, but nothing of them is executed: every part that is not listed here is refused. The length
of an expression and the size of all numbers are bounded, so that no expression takes long.
"""

import ast
import math
import operator
import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

LONGEST = 500
LARGEST = 1e300
# A power of whole numbers must have fewer bits than this.
BITS = 996

NUMBER = re.compile(r"[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?")
# A text in quotes, or a name in braces.
BRACES = re.compile(r"\"[^\"]*\"|'[^']*'|\{([^{}]*)\}")

ARITHMETIC: Mapping[type, Callable[[Any, Any], Any]] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv, ast.Mod: operator.mod, ast.Pow: operator.pow,
}  # fmt: skip
SIGNS: Mapping[type, Callable[[Any], Any]] = {ast.UAdd: operator.pos, ast.USub: operator.neg}
COMPARISONS: Mapping[type, Callable[[Any, Any], bool]] = {
    ast.Eq: operator.eq, ast.NotEq: operator.ne, ast.Lt: operator.lt, ast.LtE: operator.le, ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}  # fmt: skip
ROUNDING: Mapping[str, Callable[[Any], Any]] = {"ceil": math.ceil, "floor": math.floor, "round": round, "abs": abs}
CHOOSING: Mapping[str, Callable[[Sequence[Any]], Any]] = {"min": min, "max": max}
FUNCTIONS = (*ROUNDING, *CHOOSING)

IN_NUMBERS = (ast.Expression, ast.BinOp, ast.UnaryOp, ast.Call, ast.Name, ast.Load, ast.Constant, *ARITHMETIC, *SIGNS)
IN_CONDITIONS = (
    *IN_NUMBERS, ast.BoolOp, ast.And, ast.Or, ast.Not, ast.Compare, ast.In, ast.NotIn, ast.Tuple, ast.List, *COMPARISONS
)  # fmt: skip


class ExpressionError(Exception):
    """The expression cannot be read, or it has no value for these parameters. The message says why."""


class Cell(str):
    """The value of a parameter. It is a text, and a number if it looks like one."""


class Expression:
    """An expression that has been read. `names` are its parameters. `bare` are those that stand without braces."""

    def __init__(self, text: str, conditions: bool = False) -> None:
        """With `conditions`, comparisons, `and`, `or`, `not`, `in` and texts in quotes may stand there too."""
        if len(text) > LONGEST:
            raise ExpressionError(f"it has {len(text)} characters, and {LONGEST} are possible")
        self._named: dict[str, str] = {}
        self._tree = _parse(_with_placeholders(text, self._named), text, conditions).body
        called = {id(node.func) for node in ast.walk(self._tree) if isinstance(node, ast.Call)}
        found = [node.id for node in ast.walk(self._tree) if isinstance(node, ast.Name) and id(node) not in called]
        self.names = tuple(dict.fromkeys(self._named.get(name, name) for name in found))
        self.bare = tuple(dict.fromkeys(name for name in found if name not in self._named))
        self.is_condition = isinstance(self._tree, (ast.Compare, ast.BoolOp)) or _is_not(self._tree)

    def number(self, values: Mapping[str, str]) -> int | float:
        """Return the number that the expression is for these values of parameters."""
        return _guarded(lambda: self._number(self._tree, values))

    def holds(self, values: Mapping[str, str]) -> bool:
        """Return whether the condition is true for these values of parameters."""
        return _guarded(lambda: self._condition(self._tree, values))

    def _value(self, node: ast.AST, values: Mapping[str, str]) -> Any:
        if isinstance(node, ast.Constant):
            return _bounded(node.value) if _is_number(node.value) else _text(node.value)
        if isinstance(node, ast.Name):
            return Cell(values[self._named.get(node.id, node.id)])
        if isinstance(node, (ast.Tuple, ast.List)):
            return tuple(self._value(item, values) for item in node.elts)
        if isinstance(node, (ast.Compare, ast.BoolOp)) or _is_not(node):
            return self._condition(node, values)
        return self._number(node, values)

    def _number(self, node: ast.AST, values: Mapping[str, str]) -> int | float:
        if isinstance(node, ast.BinOp):
            left, right = self._number(node.left, values), self._number(node.right, values)
            if isinstance(node.op, ast.Pow):
                _check_power(left, right)
            return _bounded(ARITHMETIC[type(node.op)](left, right))
        if isinstance(node, ast.UnaryOp) and not _is_not(node):
            return _bounded(SIGNS[type(node.op)](self._number(node.operand, values)))
        if isinstance(node, ast.Call):
            given = [self._number(argument, values) for argument in node.args]
            name = node.func.id if isinstance(node.func, ast.Name) else ""
            return _bounded(CHOOSING[name](given) if name in CHOOSING else ROUNDING[name](given[0]))
        value = self._value(node, values)
        number = _as_number(value)
        if number is None:
            what = f"{self._shown(node)} is {value!r}, which" if isinstance(value, Cell) else f"{self._shown(node)}"
            raise ExpressionError(f"{what} is no number")
        return number

    def _condition(self, node: ast.AST, values: Mapping[str, str]) -> bool:
        if isinstance(node, ast.BoolOp):
            combine = all if isinstance(node.op, ast.And) else any
            return combine(self._condition(part, values) for part in node.values)
        if isinstance(node, ast.UnaryOp) and _is_not(node):
            return not self._condition(node.operand, values)
        if isinstance(node, ast.Compare):
            parts = [self._value(part, values) for part in (node.left, *node.comparators)]
            return all(_compare(op, parts[i], parts[i + 1]) for i, op in enumerate(node.ops))
        shown = self._shown(node)
        raise ExpressionError(f"{shown} is no condition; compare it with something, such as {shown} == 1")

    def _shown(self, node: ast.AST) -> str:
        shown = ast.unparse(node)
        for placeholder, name in self._named.items():
            shown = shown.replace(placeholder, name)
        return shown


def _with_placeholders(text: str, named: dict[str, str]) -> str:
    """Return the text with an identifier for each `{name}`, because a name such as `lambda` is no identifier."""
    prefix = "p"
    while prefix in text:
        prefix += "_"

    def placed(match: re.Match[str]) -> str:
        if match[1] is None:
            return match[0]
        placeholder = f"{prefix}{len(named)}"
        named[placeholder] = match[1].strip()
        return f" {placeholder} "

    return BRACES.sub(placed, text)


def _parse(code: str, text: str, conditions: bool) -> ast.Expression:
    try:
        with warnings.catch_warnings():
            # Python warns of what it takes for a mistake, such as a comparison by `is`, which is refused below.
            warnings.simplefilter("ignore")
            tree = ast.parse(code.strip(), mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise ExpressionError(_unreadable(text, conditions)) from None
    for node in ast.walk(tree):
        _check_node(node, conditions)
    return tree


def _unreadable(text: str, conditions: bool) -> str:
    if re.search(r"(?<![=<>!])=(?!=)", text) and conditions:
        return "it cannot be read; `==` compares, and `=` does not"
    if re.search(r"&|\||!(?!=)", text) and conditions:
        return "it cannot be read; write `and`, `or` and `not`"
    if conditions:
        return "it cannot be read; write a name that is a word of Python in braces: {lambda} > 1"
    return "it cannot be read as arithmetic"


def _check_node(node: ast.AST, conditions: bool) -> None:
    """Refuse what is neither arithmetic nor, with `conditions`, a part of conditions."""
    if not isinstance(node, IN_CONDITIONS if conditions else IN_NUMBERS):
        kinds = "arithmetic and conditions are" if conditions else "arithmetic is"
        raise ExpressionError(f"only {kinds} possible there")
    if isinstance(node, ast.Constant) and not (_is_number(node.value) or (conditions and _text(node.value))):
        raise ExpressionError(f"{ast.unparse(node)} is no number")
    if isinstance(node, ast.Call):
        name = node.func.id if isinstance(node.func, ast.Name) else ""
        if name not in FUNCTIONS:
            raise ExpressionError(f"only the functions {', '.join(FUNCTIONS)} are possible there")
        if node.keywords or not node.args or (name in ROUNDING and len(node.args) > 1):
            amount = "one number" if name in ROUNDING else "numbers"
            raise ExpressionError(f"the function {name} takes {amount}")


def _is_not(node: ast.AST) -> bool:
    return isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _text(value: Any) -> str | None:
    """Return a constant as text. True is the text of YAML's `true`. None: it is no text."""
    if isinstance(value, bool):
        return str(value).lower()
    return value if isinstance(value, str) else None


def _guarded(compute: Callable[[], Any]) -> Any:
    try:
        return compute()
    except ZeroDivisionError:
        raise ExpressionError("it divides by zero") from None
    except OverflowError:
        raise ExpressionError("a number is too large") from None
    except RecursionError:
        raise ExpressionError("it is nested too deeply") from None


def _bounded(value: Any) -> Any:
    if isinstance(value, complex):
        raise ExpressionError("the root of a negative number is no number")
    if not abs(value) <= LARGEST:
        raise ExpressionError("a number is too large")
    return value


def _check_power(base: int | float, exponent: int | float) -> None:
    """Refuse a power of whole numbers that would take long to compute."""
    if isinstance(base, int) and abs(base) > 1 and exponent * math.log2(abs(base)) > BITS:
        raise ExpressionError("a number is too large")


def _as_number(value: Any) -> int | float | None:
    """Return the number that a value is. None: it is a condition, or a text that is no number."""
    if _is_number(value):
        return value
    if not isinstance(value, Cell) or not NUMBER.fullmatch(value) or len(value) > LONGEST:
        return None
    return _bounded(int(value) if re.fullmatch("[-+]?[0-9]+", value) else float(value))


def _compare(op: ast.cmpop, left: Any, right: Any) -> bool:
    """Compare as numbers if both are numbers, else as text. A text in quotes is never a number."""
    if isinstance(op, (ast.In, ast.NotIn)):
        return _is_in(left, right) == isinstance(op, ast.In)
    for each in (left, right):
        if isinstance(each, (bool, tuple)):
            what = "a list follows `in` only" if isinstance(each, tuple) else "a condition cannot be compared"
            raise ExpressionError(what)
    numbers = _as_number(left), _as_number(right)
    if None not in numbers:
        return COMPARISONS[type(op)](*numbers)
    if isinstance(left, str) and isinstance(right, str):
        return COMPARISONS[type(op)](str(left), str(right))
    if isinstance(op, (ast.Eq, ast.NotEq)):
        return isinstance(op, ast.NotEq)
    text, number = (left, right) if isinstance(left, str) else (right, left)
    raise ExpressionError(f"the text {str(text)!r} is compared with the number {number}")


def _is_in(left: Any, right: Any) -> bool:
    if isinstance(right, tuple):
        return any(_compare(ast.Eq(), left, each) for each in right)
    if isinstance(left, str) and isinstance(right, str):
        return str(left) in str(right)
    raise ExpressionError("after `in` stands a list, such as (1, 2), or a text after a text")
