"""The agent answers the questions of `harbor doctor`, and reads logind's configuration as logind does."""

import sys

import pytest

from tests.agent.conftest import run_beside_modules


def test_the_answers(agents, tmp_path):
    probe = tmp_path / "probe"
    probe.write_text("token")
    agent = agents(workdir=str(tmp_path), probe={"file": str(probe), "token": "token"}, env={"LC_ALL": "C"})
    made, gone = tmp_path / "made", str(tmp_path / "gone")
    file = {"file": str(made), "token": "mine"}
    agent.send(t="checkup", probe=file, workdir=str(tmp_path), needs=[sys.executable, gone])
    answer = agent.wait_for("checkup")
    assert made.read_text() == "mine" and answer["made"] == ""
    assert (answer["charmap"], answer["bash"]) == ("ANSI_X3.4-1968", True)
    assert answer["workdir"]["state"] == "here" and answer["resolved"] and answer["missing"] == [gone]
    assert answer["snakemake"].startswith("9.")
    agent.send(t="checkup", probe=file, workdir=gone, needs=[gone])
    second = agent.wait(lambda m: m["t"] == "checkup" and m["made"])
    assert (second["made"], second["resolved"], second["snakemake"]) == ("File exists", False, "")


@pytest.mark.parametrize("message", [{}, {"probe": 1, "needs": []}, {"probe": {"file": "/x/y"}, "needs": ["a"]}])
def test_a_question_that_makes_no_sense_is_answered(agent, message):
    agent.wait_for("ready")
    agent.send(t="checkup", **message)
    assert "not understood" in agent.wait_for("error")["message"]


@pytest.mark.parametrize(
    ("files", "kills"),
    [
        ({}, False),
        ({"etc/logind.conf": "#KillUserProcesses=no"}, False),
        ({"etc/logind.conf": "[Login]\n#KillUserProcesses=yes"}, True),
        ({"etc/logind.conf": "#KillUserProcesses=yes\nKillUserProcesses=off"}, False),
        ({"usr/logind.conf": "KillUserProcesses=yes", "etc/logind.conf": "#KillUserProcesses=no"}, False),
        ({"etc/logind.conf": " KillUserProcesses = Yes "}, True),
        ({"etc/logind.conf": "KillUserProcesses=no", "usr/logind.conf.d/5.conf": "KillUserProcesses=yes"}, True),
        ({"usr/logind.conf.d/5.conf": "KillUserProcesses=yes", "etc/logind.conf.d/5.conf": ""}, False),
        (
            {"usr/logind.conf.d/5.conf": "KillUserProcesses=no", "etc/logind.conf.d/4.conf": "KillUserProcesses=1"},
            False,
        ),
        ({"etc/logind.conf": "KillUserProcesses=yes\nKillExcludeUsers=root carol"}, False),
        ({"etc/logind.conf": "KillUserProcesses=yes\nKillOnlyUsers=dave"}, False),
        ({"etc/logind.conf": "KillUserProcesses=yes\nKillOnlyUsers=dave carol"}, True),
    ],
)
def test_whether_logind_kills_processes(python, tmp_path, files, kills):
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    code = "import harbor_checkup as c\n"
    code += f"c.CONFIGURATION = tuple({str(tmp_path)!r} + '/' + name for name in ('usr', 'local', 'run', 'etc'))\n"
    assert run_beside_modules(python, code + "print(c.kills_user_processes('carol'))") == f"{kills}\n"
