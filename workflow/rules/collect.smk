"""Define the rules of each sweep that run on the controller: NAME_collect, NAME_columns and NAME_plot.

NAME_columns checks the columns of the plots when the first case has ended. With a list of plots, there is a rule NAME_plot-1,
NAME_plot-2 and so on for each.
"""

for SWEEP in SWEEPS.values():

    rule:
        name:
            f"{SWEEP.name}_collect"
        input:
            collected(SWEEP),
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

    if has_columns_to_check(SWEEP):

        rule:
            name:
                f"{SWEEP.name}_columns"
            input:
                ends_of(SWEEP, SWEEP.cases[:1]),
                script=in_project_with(
                    "plot_columns.py",
                    "plot_data.py",
                    "collect.py",
                    "case_files.py",
                    "case_state.py",
                    "csv_table.py",
                ),
            output:
                sweep_model.columns_file(SWEEP),
            log:
                f"results/{SWEEP.name}/logs/columns.log",
            priority: 1
            localrule: True
            conda:
                "../envs/sweep.yaml"
            params:
                python=PYTHON,
                table=table_of(SWEEP),
                plots=always([plot.spec() for plot in SWEEP.plots]),
            shell:
                "{params.python:q} {input.script[0]:q} {output:q} {params.table:q} {params.plots:q} 2> {log:q}"
                " || {{ cat {log:q} >&2; exit 1; }}"

    for PLOT in SWEEP.plots:

        rule:
            name:
                f"{SWEEP.name}_{PLOT.name}"
            input:
                table=f"results/{SWEEP.name}/results.csv",
                script=in_project_with("plot.py", "plot_data.py", "plot_drawing.py"),
            output:
                report(
                    picture_of(SWEEP, PLOT, "svg"),
                    caption="../report/plot.rst",
                    category=SWEEP.name,
                ),
                picture_of(SWEEP, PLOT, "png"),
            log:
                f"results/{SWEEP.name}/logs/{PLOT.name}.log",
            localrule: True
            conda:
                "../envs/sweep.yaml"
            params:
                python=PYTHON,
                plot=always(PLOT.spec()),
            shell:
                "{params.python:q} {input.script[0]:q} {input.table:q} {params.plot:q} {output:q} 2> {log:q}"
                " || {{ cat {log:q} >&2; exit 1; }}"
