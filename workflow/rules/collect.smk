"""Rules of each sweep that run on the controller: NAME_collect, NAME_plot."""

for SWEEP in SWEEPS.values():

    rule:
        name:
            f"{SWEEP.name}_collect"
        input:
            ends_of(SWEEP),
            script=COLLECT,
        output:
            report(
                f"results/{SWEEP.name}/results.csv",
                caption="../report/table.rst",
                category=SWEEP.name,
            ),
        log:
            f"results/{SWEEP.name}/logs/collect.log",
        localrule: True
        params:
            python=PYTHON,
            table=sweep_config.table(SWEEP),
        shell:
            "{params.python:q} {input.script:q} {output:q} <<< {params.table:q} 2> >(tee {log:q} >&2)"

    if SWEEP.plot:

        rule:
            name:
                f"{SWEEP.name}_plot"
            input:
                table=f"results/{SWEEP.name}/results.csv",
                script=PLOT,
            output:
                report(
                    f"results/{SWEEP.name}/plot.svg",
                    caption="../report/plot.rst",
                    category=SWEEP.name,
                ),
            log:
                f"results/{SWEEP.name}/logs/plot.log",
            localrule: True
            params:
                python=PYTHON,
                axes=[
                    SWEEP.plot[key] for key in ("x", "y", "color") if key in SWEEP.plot
                ],
            shell:
                "{params.python:q} {input.script:q} {input.table:q} {output:q} {params.axes:q} 2> >(tee {log:q} >&2)"
