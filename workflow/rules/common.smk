"""Define the functions that the rules use.

Values of the user go through functions, because Snakemake would take braces in a plain string for wildcards.
"""

import functools
import json


def in_project(name):
    """Copy one of our scripts into the project, and return the copy's path.

    Nodes may not see the place where the workflow is installed. And if that place moves or is updated, no path and no
    time of an input changes. No rule makes the copy, because that rule could hide other reasons to run a job again.
    """
    source, copy = SCRIPTS / name, Path(".snakemake/sweep") / name
    if not copy.exists() or copy.read_bytes() != source.read_bytes():
        copy.parent.mkdir(parents=True, exist_ok=True)
        part = copy.with_name(f"{name}.{os.getpid()}")
        part.write_bytes(source.read_bytes())
        part.replace(copy)
    return str(copy)


def in_project_with(name, *modules):
    """Copy one of our scripts and the modules of ours that it imports. Return the paths in this order."""
    return [in_project(each) for each in (name, *modules)]


wildcard_constraints:
    case=r"[^/]+",


def all_results():
    """Return the table of every sweep, and its plots if some are configured and can be drawn.

    If only a part of a sweep's cases is selected, return their ends, because a table of a part would pass for the whole.
    """
    wanted = []
    for name, sweep in SWEEPS.items():
        if sweep_selection.is_part(sweep, SELECTED):
            wanted += ends_of(sweep, SELECTED[name])
        elif SELECTED[name]:
            wanted.append(f"results/{name}/results.csv")
            wanted += pictures_of(sweep) if CAN_PLOT else []
    return wanted


def pictures_of(sweep):
    """Return all files of the plots, and the mark of their checked columns.

    The mark is no input of the plots, because a new check would be a reason to draw all of them again.
    """
    mark = [sweep_model.columns_file(sweep)] if has_columns_to_check(sweep) else []
    return mark + [
        picture_of(sweep, plot, kind) for plot in sweep.plots for kind in ("svg", "png")
    ]


def picture_of(sweep, plot, kind):
    return f"results/{sweep.name}/{plot.name}.{kind}"


def always(value):
    """Return a function of wildcards that returns one value, which may contain braces."""

    def given(wildcards):
        return value

    return given


def template_of(sweep):
    """Return the files of the template whose contents count."""
    return always(
        sweep_template.template_files(sweep.template) if sweep.template else []
    )


def template_path_of(sweep):
    return always(sweep.template)


def script_of(processor):
    """Return the script of a pre- or post-processor as an input, or no input if it is a command line."""
    return always([processor[0]] if processor and processor[0] else [])


def class_of(sweep, module):
    """Return the file of the module of a class as an input, or no input if there is no class."""
    return always(sweep_directories.class_file(sweep.name, module) or [])


def start_of(sweep):
    """Return what each attempt of a case gets a copy of."""
    if sweep.pre_class:
        return f"results/{sweep.name}/.steps/prepared/{{case}}"
    return f"results/{sweep.name}/.steps/template"


def watched(sweep):
    """Return the files of which a change runs the cases again. The rule NAME_template names them otherwise."""
    return template_of(sweep) if sweep.pre_class else always([])


def request_of(sweep):
    """Return the file with the values of a case as an input, if a class PreProcessor writes it."""
    return sweep_specs.request_file(sweep, "{case}") if sweep.pre_class else []


def reserved_by(sweep):
    """Return a function of wildcards that returns what the case reserves."""
    first = sweep.cases[0].name

    def given(wildcards):
        # `params` refuses a case that does not exist.
        return sweep.reserved.get(wildcards.case, sweep.reserved[first])

    return given


def threads_of(sweep):
    reserved = reserved_by(sweep)

    def threads(wildcards):
        return reserved(wildcards).get("threads", 1)

    return threads


def resources_of(sweep):
    """Return a function of wildcards for each resource that the rule states."""
    reserved = reserved_by(sweep)

    def resource(key):
        def given(wildcards):
            return sweep_resources.rule_resources(reserved(wildcards))[key]

        return given

    keys = sweep_resources.rule_resources(sweep.reserved[sweep.cases[0].name])
    return {key: resource(key) for key in keys}


def group_of(sweep):
    """Return the group of the steps of a case, or None if there is only one step on a node.

    One node runs all steps of a case, so their files are sent and fetched once.
    """
    return f"{sweep.name}_case" if sweep.post else None


def changed_by(sweep):
    """Return the files that the steps of a case change besides their outputs, as words of a shell.

    They are fetched from a node that does not have the working directory, also when a step has failed. Harbor puts the
    wildcard in. Snakemake demands that all jobs of a group have the same text.
    """
    names = [f"results/{sweep.name}/{name}" for name in (".steps/state", "failed")]
    return always(
        " ".join([f"{name}/{{case}}" for name in names] + [case_directory(sweep)])
    )


def on_failure_of(sweep):
    """Return what a failure means. With `threads`, it counts as derived: its change runs no case again."""

    def given(wildcards, threads):
        return sweep.on_failure

    return given


def step_of(sweep, name):
    """Return a function of wildcards that says what step.py has to do for the case."""
    cases = sweep.by_name()

    def spec(wildcards):
        if wildcards.case not in cases:
            hint = sweep_schema.guess(wildcards.case, list(cases))
            fail(f"sweeps.{sweep.name}: there is no case {wildcards.case!r}; {hint}")
        return sweep_specs.step(sweep, cases[wildcards.case], name)

    return spec


def table_of(sweep):
    """Return a function for the file that says what collect.py has to do. The file is written at the first call."""

    @functools.cache
    def file():
        return sweep_specs.table_file(sweep, Path(".snakemake/sweep/tables"))

    def given(wildcards):
        return file()

    return given


def parts():
    """Yield a line for each sweep of which a part is selected."""
    for name, sweep in SWEEPS.items():
        if sweep_selection.is_part(sweep, SELECTED):
            yield f"only: {len(SELECTED[name])} of {len(sweep.cases)} cases of {name} are selected"


def register_tables():
    """Write for `harbor table` which tables there are, and return what makes them at the end of a run.

    The executor harbor calls it, and so do the handlers of the Snakefile, because other executors do not.
    """
    at_end = getattr(workflow, "harbor_sweeps_ended", None)
    at_end = at_end or partial_table.EndOfSweeps(logger)
    if workflow.is_main_process:
        in_project_with("partial_table.py", "collect.py", "csv_table.py")
        in_project_with("case_files.py", "case_state.py")
        at_end.tables.update(
            {name: table_of(sweep)(None) for name, sweep in SWEEPS.items()}
        )
        case_files.finish(partial_table.REGISTRY, json.dumps(at_end.tables))
    return at_end


def left_over():
    """Yield a line for each sweep that has cases of earlier configurations in its results."""
    for name, sweep in SWEEPS.items():
        found = sweep_specs.left_over(sweep)
        if found:
            shown = ", ".join(found[:5]) + (", ..." if len(found) > 5 else "")
            yield f"results/{name}/cases still holds {len(found)} cases that the configuration no longer has: {shown}"
            yield "`harbor clean --cases` lists what is left of them, and removes it when asked."


def has_columns_to_check(sweep):
    """Tell if the plots need columns that only the results of the cases can have."""
    return any(plot.of_results for plot in sweep.plots)


def first_one_first(sweep):
    """Return a function for a priority. The first case starts first where its results are checked."""
    first = sweep.cases[0].name if has_columns_to_check(sweep) else None

    def given(wildcards):
        return int(wildcards.case == first)

    return given


def case_directory(sweep):
    return f"results/{sweep.name}/cases/{{case}}"


def marker(sweep, name):
    """Return the path of the file that marks a step of a case as done."""
    return f"results/{sweep.name}/.steps/{name}/{{case}}"


def ends_of(sweep, cases):
    """Return the files that the last step of these cases makes."""
    if sweep.post:
        ends = [marker(sweep, "post")]
    else:
        last = "post" if sweep.post_class else "run"
        ends = [marker(sweep, last), case_directory(sweep)]
    return [end.format(case=case.name) for case in cases for end in ends]


def collected(sweep):
    """Return the ends of all cases, or a function that refuses the table if only a part of them is selected."""
    if not sweep_selection.is_part(sweep, SELECTED):
        return ends_of(sweep, sweep.cases)

    def refused(wildcards):
        fail(
            f"only: {len(SELECTED[sweep.name])} of {len(sweep.cases)} cases of {sweep.name} are selected, and"
            f" results/{sweep.name}/results.csv holds all\n  Try: leave `only` out, or type the target `all`"
        )

    return refused
