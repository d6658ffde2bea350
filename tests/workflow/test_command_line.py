"""A value in place of `{name}` arrives unchanged at every place of a command line, or the line is refused."""

import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "workflow" / "scripts"))

import command_line  # noqa: E402
import sweep_config  # noqa: E402

SCHEMA = yaml.safe_load((ROOT / "workflow/schemas/config.schema.yaml").read_text())
VALUES = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))
# These are all places at which every value can be written. Each line prints the value and a NUL.
PLACES = [
    "printf '%s\\0' {v}",
    'printf "%s\\0" "{v}"',
    "printf '%s\\0' '{v}'",
    "printf '%s\\0' $'{v}'",
    "x={v}; printf '%s\\0' \"$x\"",
    'printf "%s\\0" "$(printf "%s" "{v}" | cat; printf .)" | sed -z "s/.$//"',
    'printf "%s\\0" "$(printf %s {v}; printf .)" | sed -z "s/.$//"',
    "# it's {v} of a comment\nprintf '%s\\0' {v}",
    "f() { printf '%s\\0' \"$1\"; }; f {v} # {v}",
    "printf '%s\\0' {v}</dev/null",
]
DOCUMENTS = ["cat <<'E F'\n{v}\nE F\nprintf '\\0'", "cat <<E\n{v}\nE\nprintf '\\0'"]


def bash(line):
    done = subprocess.run(["bash", "-c", line], stdin=subprocess.DEVNULL, capture_output=True, check=False)
    assert done.returncode == 0 and not done.stderr, (line, done.stderr)
    return done.stdout


@given(value=VALUES)
@settings(max_examples=60, deadline=None)
def test_a_value_arrives_at_every_place_as_it_is(value):
    lines = [command_line.substitute(line, {"v": value}) for line in PLACES]
    assert bash("\n".join(lines)) == (value.encode() + b"\0") * len(PLACES)
    for line in DOCUMENTS:
        try:
            assert bash(command_line.substitute(line, {"v": value})) == value.encode() + b"\n\0"
        except command_line.Unquotable:
            assert "E" in value.split("\n") or "E F" in value.split("\n")


@pytest.mark.parametrize(
    "value", ["3", "a b", "if", "*", "~", "a,b", "1..3", "", "-n", "A=1", "it's", '"', "$HOME", "\\"]
)
def test_a_usual_value_arrives_at_every_place(value):
    lines = [command_line.substitute(line, {"v": value}) for line in PLACES + DOCUMENTS[:1]]
    assert bash("\n".join(lines)) == (value.encode() + b"\0") * len(PLACES) + value.encode() + b"\n\0"
    assert bash("echo {a,{v}}".replace("{v}", command_line.substitute("{v}", {"v": value}))).split(b" ")[0] == b"a"


WORDS = st.recursive(
    st.sampled_from(
        [
            "{v}",
            "a{v}",
            "{v}{v}",
            "--o={v}",
            "'{v}'",
            "' \"{v}\" '",
            "$'\\'{v}'",
            "$((1+(2)))",
            '"${u:-{v}}"',
            '\\"',
            "\\'",
            "a#b",
            "{}",
            "{x,y}",
            '"`printf %s {v}`"',
            "${u}{v}",
            "w",
        ]
    ),
    lambda words: st.one_of(
        st.lists(words, min_size=1, max_size=3).map("".join),
        st.lists(st.sampled_from(["{v}", "'", '\\"', "\\\\", "\\$", " # ", "{", "'{v}'", "${u}"])).map(
            lambda p: f'"{"".join(p)}"'
        ),
        words.map(lambda word: f"\"$(printf '%s|' {word})\""),
        words.map(lambda word: f'"$(cat <<E\n{{v}} \' $(printf %s {word})\nE\n)"'),
        words.map(lambda word: f"a # it's {{v}}\nprintf %s {word}"),
    ),
    max_leaves=6,
)


@given(
    word=WORDS,
    value=st.sampled_from(
        ["a b", "'", '"', "a\\", "\\'", "$u`id`", "*", "x\ny", "3", "#", "}", "--", "a'\"b", "E", "x\nE\ny"]
    ),
)
# Here the text after the here-document becomes shorter than the line was.
@example(word='"$(printf %s "$(cat <<E\n{v} $(printf %s {v})\nE\n)"{v})"', value="E")
@settings(max_examples=80, deadline=None)
def test_another_value_changes_nothing_but_itself(word, value):
    """With a value full of quotes, the line prints the same as with a harmless value, apart from the value."""
    line = f"printf '%s|' {word}"
    try:
        given_line = command_line.substitute(line, {"v": value})
    except command_line.Unquotable:
        return
    plain_line = command_line.substitute(line, {"v": "ZZZ"})
    assume(subprocess.run(["bash", "-n", "-c", plain_line], capture_output=True, check=False).returncode == 0)
    assert bash(given_line) == bash(plain_line).replace(b"ZZZ", value.encode())


KEPT = [
    "for n in a b; do echo \"loop ${n}\"; done",
    "n=5; echo $n ${n} ${n:-3} ${#n} ${n%.*} \"${n}\" \\{n}",
    "echo {a,b} {1..3} {sizes} {} {n,m} { n }",
    "awk '{print $n}' | perl -e 'print ${n}' | xargs -I{} echo {}",
    "echo a # {n} is the parameter, ${n} is not, don't",
]  # fmt: skip


@pytest.mark.parametrize("line", KEPT)
def test_what_is_not_the_parameters_stays(line):
    assert command_line.substitute(line, {"n": "7", "size": "9"}) == line


def test_every_other_brace_stays():
    line = "awk '{print $1}' {size} {sizes} ${x} {{size}} x{size}y $((2*{size})) `echo {size}` ${z:-{size}} {x}"
    want = "awk '{print $1}' 3 {sizes} ${x} {3} x3y $((2*3)) `echo 3` ${z:-3} 'a b'"
    assert command_line.substitute(line, {"size": "3", "x": "a b"}) == want


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "template").mkdir()

    def load(line, cases=None, key="run"):
        sweep = {"template": "template", "run": ["true"], "cases": cases or [{"case": "c", "n": 3, "size": "a b"}]}
        sweep[key] = [line] if key == "run" else line
        return sweep_config.load({"sweeps": {"s": sweep}}, SCHEMA)["s"]

    return load


UNCLEAR = [
    "echo $${n}", 'echo "$${n}"', "echo \\${n}", 'echo "\\${n}"', 'echo "\\{n}"', "echo '\\{n}'", "echo $dir{n}",
    'echo "$dir{n}"', "perl -e 'print $h{n}'", "rpm --qf '%{n}'", "cat <<E\n$dir{n}\nE",
    "sed 's/{{n}}/3/' x",
    "echo {{n}}", "jq '{n}' x", "n=5; echo {n}", "for n in 1 2; do echo {n}; done",
    "read -r n; echo {n}", "ls | xargs -I{n} cp {n} x",
    "exec {n}>file", 'python3 -c "n = 5; print(f\'{n}\')"', "python3 -c 'for n in range(3): print({n})'",
    "python3 - <<'E'\nn, m = 1, 2\nprint(f\"{n}\")\nE", "python3 -c 'print((lambda n: {n})(1))'",
    "python3 -c 'import x as n; print({n})'", "awk 'BEGIN{n=1} {n}'", "((n++)); echo {n}", "local n; echo {n}",
    "python3 -c 'print(f\"{(n := 3)} {n}\")'", "node -e 'const n = 1; f({n})'", "declare -i n; echo '{n}'",
]  # fmt: skip


@pytest.mark.parametrize("line", UNCLEAR)
@pytest.mark.parametrize("key", ["run", "post"])
def test_a_line_whose_meaning_is_unclear_is_refused_with_two_ways_to_write_it(here, line, key):
    with pytest.raises(sweep_config.SweepError) as error:
        here(line, key=key)
    place = "sweeps.s.run[0]: " if key == "run" else "sweeps.s.post: "
    assert str(error.value).startswith(place) and "Write $CASE_n for the parameter, or" in str(error.value)


CLEAR = [
    "n={n}; ./solve $n", "n={n} ./solve --n={n}", 'n="{n}"; echo ${n}', "./solve n={n} size={size} > out{n}.txt",
    "test {n} = 5 && test {n} -ge 3", "python3 -c 'f(n={n})'", "for i in $(seq {n}); do echo $i; done",
    "sed 's/SIZE/{size}/' in", "n=$(({n} + 1)); echo $n", "n=5; echo ${n}", "ssh me@{n} true", "echo $1{n} $?{n}",
    'echo "n={n}"', "size=3; echo {n} $size", "cat <<E\nn = {n}\nE", "export n={n}; echo {n}", "echo {n}>out",
    "sed 's/{{''n}}/{n}/' x", 'echo "{""n}" {n}', "jq --arg n {n} '.n = $n' x",
    "./solver --n {n} -n {n} --size {size}", 'echo "running as n {n}, read n {n}"', "cmd --dry-n {n} n-- {size}",
    "cat <<E\n# as n, for all n of a case\nn: {n}\nE", "echo $CASE_n {n}", "n=$CASE_n; echo {n}",
]  # fmt: skip


@pytest.mark.parametrize("line", CLEAR)
def test_a_line_whose_meaning_is_certain_is_taken(here, line):
    assert here(line).run == (line,)
    assert sweep_config.warnings(here(line)) == []


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ("echo $((1 + {size}))", "only a number can stand in arithmetic"),
        ("echo `echo {size}`", "only a plain word"),
        ("echo ${x:-{size}}", "only a plain word"),
        ("cat <<E\n{eof}\nE", "would end the here-document"),
        ("cat <<E\n$(printf %s {eof})\nE", "would end the here-document"),
        ('echo "$(cat <<E\n{e} (1)\nE\n) {tab} {eof}"', "would end the here-document"),
        ("cat <<E\n{e}F\nE\ncat <<EF\nx{size}\n{e}F\nEF\n", "would end the here-document"),
        ("cat <<-E\n{tab}\nE", "would take the tabs"),
        ("echo {other}", "the case c (sweeps.s.cases[1]) has no parameter other"),
        ("echo {long}{long}", "the command line has"),
        ("echo \0", "no text"),
    ],
)
def test_a_value_that_cannot_stand_at_its_place_is_refused_with_key_and_case(here, line, text):
    case = {"size": "a b", "eof": "x\nE", "e": "E", "tab": "x\n\ty", "long": "x" * 60_000}
    with pytest.raises(sweep_config.SweepError) as error:
        here(line, [{"case": "b", **dict.fromkeys(case, 1), "other": 1}, {"case": "c", **case}])
    assert text in str(error.value) and "sweeps.s.run[0]: " in str(error.value)


def test_warnings(here):
    lines = {
        "out{sead}.txt; echo {seed}": ["{sead} is no parameter", "{seed} is no parameter"],
        "awk '{sizes} {print} {m}'": ['{sizes} is no parameter and stays as it is; did you mean "size"?'],
        "echo $n ${size}": ["$n is not set by the line; the parameter is {n} or $CASE_n", "$size is not set"],
        "echo $CASE_sise": ['$CASE_sise is empty, as sise is no parameter; did you mean "size"?'],
        "echo $n $PATH; . ./env.sh": [],
    }
    for line, want in lines.items():
        found = sweep_config.warnings(here(line))
        assert len(found) == len(want), (line, found)
        assert all(text in warning for text, warning in zip(want, found, strict=True)), (line, found)


def test_a_parameter_called_like_a_resource_reserves_nothing(here):
    sweep = here("echo {threads} {mem_mb}", [{"threads": 4, "mem_mb": 100}])
    keys = [warning.split(":")[0] for warning in sweep_config.warnings(sweep)]
    assert keys == ["sweeps.s.threads", "sweeps.s.mem_mb"]
    assert sweep_config.warnings(here(8, [{"threads": 8}], key="threads")) == []
    assert "a column `case` would name" in sweep_config.warnings(here("true", [{"Case": 1}]))[0]
