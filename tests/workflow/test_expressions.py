"""Expressions are arithmetic and conditions, and nothing else. Each has a value or an error, and none takes long."""

import ast
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "workflow" / "scripts"))

import expressions  # noqa: E402
from expressions import Expression, ExpressionError  # noqa: E402

VALUES = {"n": "4", "size": "1000", "f": "0.5", "host": "ada", "lambda": "2", "zeros": "007", "e": "1e3", "yes": "true"}

NUMBERS = [
    ("{n}", 4),
    ("{size} * 8", 8000),
    ("{ n }+1", 5),
    ("{size} / 100 + 5", 15.0),
    ("-{n} ** 2 // 3 % 4", 2),
    ("max({n}, {size} * {f}, 3)", 500),
    ("ceil({n} / 3) + floor({f}) + round(2.6) + abs(-1)", 6),
    ("min({lambda}, {n})", 2),
    ("{zeros} + {e}", 1007),
    ("p + {n}", None),
    ("2 ** 10", 1024),
]


@pytest.mark.parametrize(("text", "value"), NUMBERS)
def test_arithmetic(text, value):
    expression = Expression(text)
    assert expression.bare == (("p",) if value is None else ())
    if value is not None:
        assert expression.number(VALUES) == value


CONDITIONS = [
    ("size>100 and n==4", True),
    ("size > 100 and not n == 4 or f >= 1", False),
    ("1 < n <= 4", True),
    ("host == 'ada' and host in ('ada', 'bob')", True),
    ('"da" in host and "x" not in host', True),
    ("n in [1, 2, 4.0]", True),
    ("zeros == 7 and zeros == '007' and zeros != '7'", True),
    ("{lambda} > 1", True),
    ("host == 3", False),
    ("n != 'ada'", True),
    ("n < size and e == size", True),
    ("yes == True and yes != false", None),
    ("size / n > 2 ** 7", True),
    ("host < 'b'", True),
]


@pytest.mark.parametrize(("text", "value"), CONDITIONS)
def test_conditions(text, value):
    expression = Expression(text, conditions=True)
    assert expression.is_condition
    if value is not None:
        assert expression.holds(VALUES) is value


REFUSED = [
    "{n} +", "", "{host} * 2", "{n} / 0", "{n} % 0", "9**9**9", "2**100000", "(-8)**0.5", "1e999", "9" * 400, "1j",
    "open('x')", "{n}.real", "{n}[0]", "[1]", "(1, 2)", "{n} if 1 else 2", "lambda: 1", "max()", "ceil(1, 2)",
    "max(*[1])", "round(1, ndigits=2)", "f'{n}'", "'a' * 3", "b'1'", "True", "None", "...", "{n} > 1", "not 1", "~1",
    "1 << 9999", "1 | 2", "1 @ 2", "__import__('os')", "(x := 1)", "1 and 2", "(" * 200 + ")" * 200,
    "1" + "+1" * 400, "1e200 * 1e200", "10**295 * 10**295", "max(2, {host})", "\x00", "{n} 2", "2{n}", "await 1",
]  # fmt: skip


@pytest.mark.parametrize("text", REFUSED)
def test_what_is_no_arithmetic_is_refused_with_a_sentence(text):
    with pytest.raises(ExpressionError) as error:
        Expression(text).number(VALUES)
    assert str(error.value) and "Error" not in str(error.value)


SENTENCES = [
    ("host > 3", "the text 'ada' is compared with the number 3"),
    ("size = 3", "`==` compares"),
    ("size > 3 && n == 1", "write `and`"),
    ("n", "n is no condition"),
    ("n and size > 3", "n is no condition; compare it with something, such as n == 1"),
    ("lambda > 1", "in braces: {lambda} > 1"),
    ("host + 1 > 2", "host is 'ada', which is no number"),
    ("(n > 1) == 1", "a condition cannot be compared"),
    ("n in 3", "after `in` stands a list"),
    ("n is 3", "only arithmetic and conditions are possible"),
    ("n.real > 3", "only arithmetic and conditions are possible"),
    ("len(host) > 3", "only the functions ceil"),
]


@pytest.mark.parametrize(("text", "sentence"), SENTENCES)
def test_a_wrong_condition_says_what_is_wrong(text, sentence):
    with pytest.raises(ExpressionError) as error:
        Expression(text, conditions=True).holds(VALUES)
    assert sentence in str(error.value)


PIECES = ["1", "9", "0.1", "n", "{n}", "{size}", "host", "+", "-", "*", "**", "/", "//", "%", "(", ")", "<", "==", "in",
          "and", "not", "or", "max(", "ceil(", ",", "'a'", "[", "]", ".", "if", "else", "lambda:", "open(", "=", ":",
          "{", "}", "__class__", "f'", "'", "for", "x", "await", "yield", "\n", ";", "\\", "e9", "0x"]  # fmt: skip
TEXTS = st.one_of(st.text(max_size=40), st.lists(st.sampled_from(PIECES), max_size=14).map(" ".join))
NODES = {each.__name__ for each in expressions.IN_CONDITIONS}


@given(text=TEXTS, conditions=st.booleans())
@settings(max_examples=400, deadline=None)
def test_no_text_does_anything_but_arithmetic(text, conditions):
    """Every text is a number, a condition, or a sentence of ours. An accepted one has only parts that are listed."""
    began = time.perf_counter()
    try:
        expression = Expression(text, conditions)
        values = dict.fromkeys(expression.names, "3")
        value = expression.holds(values) if expression.is_condition else expression.number(values)
    except ExpressionError:
        return
    assert {type(node).__name__ for node in ast.walk(expression._tree)} <= NODES
    assert isinstance(value, bool) if expression.is_condition else abs(value) <= expressions.LARGEST
    assert time.perf_counter() - began < 2
    names = [node for node in ast.walk(expression._tree) if isinstance(node, ast.Name)]
    assert all(isinstance(node.ctx, ast.Load) for node in names)
