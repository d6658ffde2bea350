"""The modules that a script imports from beside itself and from beside the Snakefile."""

from snakemake_executor_plugin_harbor.snakemake_internals.script_modules import modules_of

FILES = {
    "scripts/main.py": "import os, json, lost\nimport helper\nfrom pack.part import f\nfrom plain.deep import g\n",
    "scripts/helper.py": "def use():\n    import further as other\n",
    "scripts/further.py": "import helper\n",
    "scripts/other.py": "",
    "scripts/json.py": "",
    "pack/__init__.py": "from . import inside\n",
    "pack/inside.py": "import shared\n",
    "pack/part.py": "",
    "pack/deeper/x.py": "",
    "pack/data.csv": "",
    "plain/deep.py": "",
    "plain/not_wanted.py": "",
    "shared.py": "",
    "alone.py": "",
}


def test_what_is_imported_is_found_also_by_way_of_others(tmp_path):
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    found = modules_of(str(tmp_path / "scripts/main.py"), [str(tmp_path)])
    names = {path.removeprefix(f"{tmp_path}/") for path in found}
    assert names == {
        *("scripts/helper.py", "scripts/further.py", "scripts/json.py", "shared.py", "plain/deep.py"),
        *(name for name in FILES if name.startswith("pack/") and name.endswith(".py")),
    }


def test_a_script_that_is_no_python(tmp_path):
    (tmp_path / "bad.py").write_text("import (")
    (tmp_path / "null.py").write_bytes(b"import a\0")
    assert [modules_of(str(tmp_path / name), []) for name in ("bad.py", "null.py", "gone.py")] == [[], [], []]
