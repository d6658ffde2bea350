"""Jobs hang, take too long, fail or are lost. Only their own failures use up `retries`."""

import os
import time
from dataclasses import dataclass

import psutil
import pytest

from tests.snakemake.harness import Workdir, apart, on, setting
from tests.sshd import wait_until

TOLD = "no output and no progress for 5 s"
EFFECT = "echo {rule} {resources.tried} $HARBOR_ATTEMPT $HARBOR_NODE_NAME $$ >> {params.top}/effects; "
"""`tried` is Snakemake's attempt, HARBOR_ATTEMPT harbor's."""
COMMON = """
    import os

    def tried(wildcards, attempt):
        return attempt

"""


@dataclass(frozen=True)
class Effect:
    """The line that one execution wrote at its start."""

    rule: str
    tried: int
    attempt: int
    node: str
    shell: int


def effects(work: Workdir) -> list[Effect]:
    path = work.directory / "effects"
    words = [line.split() for line in path.read_text().splitlines()] if path.exists() else []
    return [Effect(w[0], int(w[1]), int(w[2]), w[3], int(w[4])) for w in words if len(w) == 5]


def lose(effect: Effect) -> None:
    """Kill (-9) the job's agent and its guardian, so that the job's end cannot be known."""
    agent = psutil.Process(effect.shell).parent()
    assert agent is not None and agent.name() == "harbor-agent"
    guardian = agent.parent()
    assert guardian is not None and guardian.name() == "harbor-guardian"
    guardian.kill()
    agent.kill()


def rule(name: str, shell: str, *more: str, output: str = "") -> str:
    lines = (f"output: {output or repr('out/' + name)}", "params: top=os.getcwd()", *more)
    if not any(line.startswith("resources:") for line in more):
        lines += ("resources: tried=tried",)
    body = "".join(f"        {line}\n" for line in (*lines, f"shell: {EFFECT + shell!r}"))
    return f"\n    rule {name}:\n{body}"


def flow(*rules: str) -> str:
    names = [text.split()[1].rstrip(":") for text in rules]
    return COMMON + f"    rule all:\n        input: {[f'out/{name}' for name in names]}\n" + "".join(rules)


def until(work: Workdir, count: int) -> list[Effect]:
    wait_until(lambda: len(effects(work)) >= count, 40, f"{count} executions")
    return effects(work)


WAIT = "until [ -e {params.top}/go ]; do sleep 0.1; done; touch {output}"
CHATTER = "until [ -e {params.top}/go ]; do echo .; sleep 0.5; done; touch {output}"


def test_a_silent_job_is_warned_of_once_and_a_chatty_one_never(project, pool):
    own = "resources: tried=tried, stall_after="
    work = project(flow(rule("silent", WAIT), rule("chatty", CHATTER), rule("patient", WAIT, own + "600")))
    run = work.start(*on(pool, "2/node1", "2/node2"), "--harbor-stall-after", "5", "--harbor-on-stall", "warn")
    begun = until(work, 3)
    run.until(TOLD)
    time.sleep(7)  # this is long enough for another warning
    (work.directory / "go").touch()
    run.wait()
    run.expect(0)
    (node,) = [effect.node for effect in begun if effect.rule == "silent"]
    (told,) = [line for line in run.text.splitlines() if "no output and no progress" in line]
    assert f"(silent) on {node}: {TOLD}" in told and "--harbor-on-stall kill" in told
    assert len(effects(work)) == 3, "nothing was ended"


def test_a_rule_may_be_less_patient_than_the_pool(project, pool):
    work = project(flow(rule("hasty", WAIT, "resources: tried=tried, stall_after=5"), rule("other", WAIT)))
    run = work.start(*on(pool, "2/node1"))
    until(work, 2)
    run.until(TOLD)
    (work.directory / "go").touch()
    run.wait()
    run.expect(0)
    assert run.text.count("no output and no progress") == 1 and "(hasty)" in run.text


def test_a_stalled_job_is_ended_and_runs_elsewhere_uncharged(project, pool):
    hang = "[ $HARBOR_ATTEMPT = 2 ] || sleep 300; touch {output}"
    work = project(flow(rule("stuck", hang, "retries: 0"), rule("chatty", CHATTER)))
    options = (*on(pool, "2/node1", "2/node2"), "--harbor-stall-after", "5", "--harbor-on-stall", "kill")
    run = work.start(*options)
    run.until(r"\(stuck\) on node\d: " + TOLD + r"\. It is killed and retried")
    wait_until((work.directory / "out/stuck").exists, 30, "its second attempt")
    (work.directory / "go").touch()
    run.wait()
    run.expect(0)
    one, two = [effect for effect in effects(work) if effect.rule == "stuck"]
    assert (one.attempt, two.attempt) == (1, 2) and one.node != two.node
    assert (one.tried, two.tried) == (1, 1), "Snakemake has not heard of it"
    assert len([effect for effect in effects(work) if effect.rule == "chatty"]) == 1
    assert "Error in rule" not in run.text
    wait_until(lambda: not os.path.exists(f"/proc/{one.shell}"), 10, "the end of the first attempt")


def test_runtime_ends_a_job_is_charged_and_may_be_raised_by_attempt(project, pool):
    """Snakemake's smallest runtime is one minute, which lasts ten seconds here."""
    slow = "[ {resources.tried} = 2 ] || sleep 300; echo {resources.runtime} > {output}"
    limits = "resources: tried=tried, runtime=lambda wildcards, attempt: attempt"
    work = project(
        flow(rule("slow", slow, limits, "retries: 1"), rule("never", "sleep 300", "resources: tried=1, runtime=1"))
    )
    began = time.monotonic()
    run = work.run(*on(pool, "2/node1"), "--keep-going", before=setting("jobs.spec.MINUTE_S", 10.0)).expect(1)
    assert 10 < time.monotonic() - began < 50
    assert run.text.count("killed: its runtime was over") == 2
    assert (work.directory / "out/slow").read_text() == "2\n"
    assert [(e.tried, e.attempt) for e in effects(work) if e.rule == "slow"] == [(1, 1), (2, 2)]
    assert len([e for e in effects(work) if e.rule == "never"]) == 1, "no retries, no second execution"


@pytest.mark.parametrize("scheduler", ["harbor", "greedy"])
def test_an_exit_code_is_charged_to_retries(project, pool, scheduler):
    once = "[ {resources.tried} = 2 ] || exit 1; touch {output}"
    work = project(
        flow(rule("once", once, "retries: 1"), rule("always", "exit 7", "retries: 2"), rule("never", "exit 1"))
    )
    run = work.run(*on(pool, "3/node1", "3/node2"), "--keep-going", "--scheduler", scheduler).expect(1)
    ran = {name: [e.tried for e in effects(work) if e.rule == name] for name in ("once", "always", "never")}
    assert ran == {"once": [1, 2], "always": [1, 2, 3], "never": [1]}
    assert run.text.count("exit code 7") == 3
    assert (work.directory / "out/once").exists()


def test_a_job_that_is_lost_is_not_charged(project, pool):
    """Agent and guardian are killed. The next agent ends the job's processes, and the job runs again."""
    work = project(
        flow(rule("lost", "sleep 1000 & echo $! > {params.top}/child.$HARBOR_ATTEMPT; " + WAIT, "retries: 0"))
    )
    run = work.start(*on(pool, "1/node1", "1/node2"))
    (one,) = until(work, 1)
    child = work.directory / "child.1"
    wait_until(lambda: child.exists() and child.read_text().strip(), 10, "the job's own child")
    lose(one)
    two = until(work, 2)[1]
    assert (two.tried, two.attempt) == (1, 2)
    wait_until(lambda: not os.path.exists(f"/proc/{child.read_text().strip()}"), 10, "nothing goes on unminded")
    (work.directory / "go").touch()
    run.wait()
    run.expect(0)
    assert len(effects(work)) == 2
    assert "Error in rule" not in run.text


def test_a_job_that_was_lost_and_then_fails_has_all_its_retries(project, pool):
    work = project(flow(rule("both", WAIT.replace("touch {output}", "exit 1"), "retries: 1")))
    run = work.start(*on(pool, "1/node1", "1/node2"))
    lose(until(work, 1)[0])
    until(work, 2)
    (work.directory / "go").touch()
    run.wait()
    run.expect(1)
    assert [(e.tried, e.attempt) for e in effects(work)] == [(1, 1), (1, 2), (2, 3)]


def test_a_job_that_is_lost_three_times_fails_and_says_so(project, pool):
    work = project(flow(rule("fatal", WAIT)))
    run = work.start(*on(pool, "1/node1", "1/node2"))
    for count in (1, 2, 3):
        lose(until(work, count)[-1])
    run.wait()
    run.expect(1)
    assert "it was lost 3 times" in run.text and "its agent and the guardian were killed" in run.text
    assert len(effects(work)) == 3


@pytest.mark.parametrize("depth", ["minimal", "shallow", "full", "copy-minimal"])
def test_a_shadow_rule_that_is_lost_once_leaves_one_result_and_no_shadow(project, pool, depth):
    shell = "echo line >> {output}; echo junk >> junk; cat junk >> {output}; " + WAIT.replace("touch {output}", "true")
    work = project(flow(rule("dark", shell, f'shadow: "{depth}"')))
    run = work.start(*on(pool, "1/node1", "1/node2"))
    lose(until(work, 1)[0])
    until(work, 2)
    (work.directory / "go").touch()
    run.wait()
    run.expect(0)
    assert (work.directory / "out/dark").read_text() == "line\njunk\n"
    assert not work.files("junk") and not work.files(".snakemake/shadow/*")


def test_an_updated_file_that_is_lost_once_is_updated_once(project, pool):
    work = project(
        flow(
            rule("more", "echo new >> {output}; " + WAIT.replace("touch {output}", "true"), output='update("out/more")')
        )
    )
    (work.directory / "out").mkdir()
    target = work.directory / "out/more"
    target.write_text("old\n")
    run = work.start(*on(pool, "1/node1", "1/node2"), "--forcerun", "more")
    first = until(work, 1)[0]
    wait_until(lambda: target.read_text() == "old\nnew\n", 10, "the first update")
    lose(first)
    until(work, 2)
    (work.directory / "go").touch()
    run.wait()
    run.expect(0)
    assert target.read_text() == "old\nnew\n"


def test_a_lost_job_of_an_earlier_run_is_not_charged_either(project, pool):
    """Agent and guardian are killed while no controller runs."""
    work = project(flow(rule("lost", WAIT, "retries: 0")))
    options = (*apart(pool, work.directory, "1/node1", "1/node2"), "--rerun-incomplete", "--nolock")
    first = work.start(*options)
    (one,) = until(work, 1)
    first.kill()
    lose(one)
    second = work.start(*options)
    two = until(work, 2)[1]
    assert two.tried == 1
    (work.directory / "go").touch()
    second.wait()
    second.expect(0)
    assert len(effects(work)) == 2
