"""No case writes into the template or sees another case's files, whatever links it has.

A template that cannot be copied is refused before any job runs."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "workflow" / "scripts"))

import case_files  # noqa: E402
import sweep_config  # noqa: E402
import sweep_template  # noqa: E402

SCHEMA = yaml.safe_load((ROOT / "workflow/schemas/config.schema.yaml").read_text())


@pytest.fixture
def here(tmp_path, monkeypatch):
    """Make a project whose template has a file, a directory and, beside it, a target for links."""
    home = tmp_path / "project"
    (home / "template/sub").mkdir(parents=True)
    monkeypatch.chdir(home)
    Path("template/base").write_text("base\n")
    Path("template/sub/deep").write_text("deep\n")
    (home / "outside/dir").mkdir(parents=True)
    Path("outside/far").write_text("far\n")
    return home


def load(template="template"):
    sweep_config.load({"sweeps": {"s": {"template": template, "run": "true", "grid": {"x": [1]}}}}, SCHEMA)


def copies(template="template"):
    """Make the sweep's own copy and that of a case, as the rules do."""
    os.makedirs("results/s/.steps", exist_ok=True)
    os.makedirs("results/s/cases", exist_ok=True)
    case_files.copy_tree(template, "results/s/.steps/template")
    case_files.copy_tree("results/s/.steps/template", "results/s/cases/a")
    return Path("results/s/cases/a")


def contents(*roots):
    return {p: p.read_bytes() for root in roots for p in sorted(Path(root).rglob("*")) if p.is_file()}


INWARD = {
    "absolute": ("l", "{here}/template/base", "base"),
    "leaves and comes back": ("l", "../template/base", "base"),
    "leaves twice": ("sub/l", "../../template/../template/sub/deep", "sub/deep"),
    "absolute, to a directory": ("l", "{here}/template/sub", "sub"),
    "to the template": ("sub/l", "{here}/template", "."),
    "relative, to the template": ("l", "../template", "."),
    "through a link outside": ("l", "../outside/back", "base"),
    "through a directory outside": ("l", "../outside/dir/../../template/base", "base"),
    "through a link to the directory": ("l", "{here}/alias/base", "base"),
    "nothing there yet": ("l", "{here}/template/new", "new"),
    "with a slash at the end": ("l", "{here}/template/sub/", "sub"),
    "itself": ("l", "l", "l"),
    "not normal": ("l", "./sub/..//sub/./deep", "sub/deep"),
}


@pytest.mark.parametrize(("name", "target", "leads_to"), INWARD.values(), ids=INWARD)
@pytest.mark.parametrize("template", ["template", "alias", "template/", "{here}/alias"])
def test_a_link_into_the_template_leads_into_the_copy(here, name, target, leads_to, template):
    Path("outside/back").symlink_to("../template/base")
    Path("alias").symlink_to("template")
    os.symlink(target.format(here=here), Path("template", name))
    template = template.format(here=here)
    load(template)
    case = copies(template)
    before = contents("template", "results/s/.steps/template", "outside")
    want = os.path.normpath(Path(case.resolve(), leads_to))
    for copy in (Path("results/s/.steps/template"), case):
        text = os.readlink(copy / name)
        assert not os.path.isabs(text)
        assert os.path.normpath(Path(copy, name).parent / text) == os.path.normpath(Path(copy, leads_to))
    if leads_to != "l":
        assert os.path.realpath(case / name) == want
        written = case / name / "base" if (case / name).is_dir() else case / name
        subprocess.run(["sh", "-c", f"echo more >> {written}"], check=True)
    assert contents("template", "results/s/.steps/template", "outside") == before


def test_links_to_links_stay_links_to_links(here):
    os.symlink("b", "template/a")
    os.symlink(f"{here}/template/c", "template/b")
    os.symlink("../outside/d", "template/c")
    os.symlink("../template/sub", "outside/d")
    load()
    case = copies()
    assert [os.readlink(case / name) for name in "abc"] == ["b", "c", "sub"]
    (case / "a/deep").write_text("changed\n")
    assert Path("template/sub/deep").read_text() == "deep\n" and (case / "sub/deep").read_text() == "changed\n"


def test_a_link_that_leads_out_leads_to_the_same_place(here):
    links = {
        "far": "../outside/far",
        "sub/dir": "../../outside/dir",
        "abs": f"{here}/outside/far",
        "null": "/dev/null",
        "none": "../outside/none",
    }
    for name, target in links.items():
        os.symlink(target, Path("template", name))
    load()
    case = copies()
    for name in links:
        assert os.path.realpath(case / name) == os.path.realpath(Path("template", name)), name
    assert os.readlink(case / "abs") == f"{here}/outside/far" and not os.path.isabs(os.readlink(case / "far"))


def test_hard_links_become_files_of_their_own(here):
    os.link("outside/far", "template/far")
    os.link("template/base", "template/same")
    case = copies()
    for name in ("far", "same"):
        with (case / name).open("a") as f:
            f.write("more")
    assert Path("outside/far").read_text() == "far\n" and Path("template/base").read_text() == "base\n"
    assert (case / "base").read_text() == "base\n"


@pytest.mark.parametrize("kind", ["pipe", "socket", "device"])
def test_special_files_are_refused_with_their_path(here, kind):
    path = "template/sub/special"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "socket":
        socket.socket(socket.AF_UNIX).bind(path)
    else:
        try:
            os.mknod(path, 0o020666, os.makedev(1, 5))
        except PermissionError:
            pytest.skip("needs the right to make a device")
    with pytest.raises(sweep_config.SweepError) as error:
        load()
    assert f"sweeps.s.template: template/sub/special is a {kind}" in str(error.value)
    with pytest.raises(OSError, match="cannot be copied"):
        case_files.copy_tree("template", "copy")
    assert not Path("copy").exists() and not Path(".copy.part").exists()
    Path(path).unlink()
    os.mkfifo("outside/pipe")
    os.symlink("../../outside/pipe", path)
    load()
    assert sweep_template.template_files("template") == ["template/base", "template/sub/deep"]


@pytest.mark.parametrize("target", ["..", "/", "{here}", "../results/s/cases/b", "../results/s"])
def test_a_link_through_which_cases_meet_is_refused(here, target):
    os.makedirs("results/s/cases/b")
    os.symlink(target.format(here=here), "template/up")
    with pytest.raises(sweep_config.SweepError) as error:
        load()
    assert "sweeps.s.template: the link template/up leads to" in str(error.value)


@pytest.mark.parametrize("template", ["results/s/cases/b", "results/s"])
def test_a_template_in_the_sweeps_own_results_is_refused(here, template):
    os.makedirs("results/s/cases/b")
    with pytest.raises(sweep_config.SweepError, match="which the sweep itself writes"):
        load(template)
    os.makedirs("results/other/cases/b")
    load("results/other/cases/b")


def test_names_that_are_no_text_are_copied_and_watched(here):
    for name in (b"latin-\xe9", b"line\nbreak", b"a{b}", " ä".encode()):
        Path("template", os.fsdecode(name)).write_text("1")
    load()
    listing = sweep_template.template_listing("template")
    assert copies().joinpath(os.fsdecode(b"latin-\xe9")).read_text() == "1"
    assert "template/ ä" in sweep_template.template_files("template")
    Path("template", os.fsdecode(b"latin-\xe9")).write_text("2")
    assert sweep_template.template_listing("template") != listing


def test_a_file_from_the_future_is_none_of_the_cases_results(here):
    os.utime("template/base", (4e9, 4e9))
    case = copies()
    times = dict(zip(("began", "ended"), case_files.present(str(case)), strict=True))
    assert "older than the case" in case_files.no_result(str(case), "base", times)
