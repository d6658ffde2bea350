"""Define the rules of each sweep that run on the controller: NAME_collect and NAME_plot."""

for SWEEP in SWEEPS.values():

    rule:
        name:
            f"{SWEEP.name}_collect"
        input:
            ends_of(SWEEP),
            script=in_project_with(
                "collect.py", "case_files.py", "case_state.py", "csv_table.py"
            ),
        output:
            report(
                f"results/{SWEEP.name}/results.csv",
                caption="../report/table.rst",
                category=SWEEP.name,
            ),
        log:
            f"results/{SWEEP.name}/logs/collect.log",
        localrule: True
        conda:
            "../envs/sweep.yaml"
        params:
            python=PYTHON,
            table=table_of(SWEEP),
        shell:
            "{params.python:q} {input.script[0]:q} {output:q} {params.table:q} 2> {log:q}"
            " || {{ cat {log:q} >&2; exit 1; }}"

    if SWEEP.plot:

        rule:
            name:
                f"{SWEEP.name}_plot"
            input:
                table=f"results/{SWEEP.name}/results.csv",
                script=in_project("plot.py"),
            output:
                report(
                    f"results/{SWEEP.name}/plot.svg",
                    caption="../report/plot.rst",
                    category=SWEEP.name,
                ),
            log:
                f"results/{SWEEP.name}/logs/plot.log",
            localrule: True
            conda:
                "../envs/sweep.yaml"
            params:
                python=PYTHON,
                axes=axes_of(SWEEP),
            shell:
                "{params.python:q} {input.script:q} {input.table:q} {output:q} {params.axes:q} 2> {log:q}"
                " || {{ cat {log:q} >&2; exit 1; }}"
