"""Allot's task_factory as a command factory: snakemake --profile profiles/pool --harbor-command-factory factory.py:task

Allot's factory returned a Task with commands and an output file. Here it returns one command line. `ntc.command` is
the command of the rule, and harbor names the output file itself (RULE/WILDCARDS/JOBID.ATTEMPT.log).
"""


def task(ntc) -> str:
    cmds = [
        f"echo job_name={ntc.job_name} node_name={ntc.node_name} cpus_on_node={ntc.cpus_on_node}",
        f"echo node_id={ntc.node_id} local_id={ntc.local_id} proc_id={ntc.proc_id} output_dir={ntc.output_dir}",
        ntc.command,
    ]
    return "; ".join(cmds)
