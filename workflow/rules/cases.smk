"""Define the rules of each sweep: NAME_template, NAME_run and, with a post-processor, NAME_post.

If the processors are classes that were written for Parallel-Task-Harbor, NAME_pre and NAME_post call them on the controller.

They use `shell:` only, so that a node needs nothing but python3 and what the user's own commands need. Each file that a
job reads or writes is declared and lies in the project, so that it can be copied to a node that does not share our files.
"""

# Every job reads these scripts. They are no reason to run a job again, because a new version of ours must not repeat cases.
STEP = ancient(
    in_project_with("step.py", "case_files.py", "case_state.py", "command_line.py")
)

PROCESSORS = ancient(
    in_project_with(
        "processors.py",
        "src_stand_in.py",
        "case_files.py",
        "case_state.py",
    )
)

for SWEEP in SWEEPS.values():

    if SWEEP.pre_class:

        rule:
            name:
                f"{SWEEP.name}_pre"
            input:
                template_of(SWEEP),
                class_of(SWEEP, SWEEP.pre_class),
                step=PROCESSORS,
            output:
                directory=temp(directory(start_of(SWEEP))),
                request=request_of(SWEEP),
            log:
                f"results/{SWEEP.name}/logs/pre/{{case}}.log",
            localrule: True
            conda:
                "../envs/sweep.yaml"
            params:
                python=PYTHON,
                spec=step_of(SWEEP, "pre"),
                listing=SWEEP.listing,
            shell:
                "{params.python:q} {input.step[0]:q} pre {params.spec:q}"
                " {output.directory:q} {output.request:q} {log:q}"

    else:

        rule:
            name:
                f"{SWEEP.name}_template"
            input:
                template_of(SWEEP),
                step=STEP,
            output:
                directory(start_of(SWEEP)),
            log:
                f"results/{SWEEP.name}/logs/template.log",
            localrule: True
            conda:
                "../envs/sweep.yaml"
            params:
                source=template_path_of(SWEEP),
                listing=SWEEP.listing,
            shell:
                "python3 {input.step[0]:q} template {params.source:q} {output:q} 2> {log:q}"
                " || {{ cat {log:q} >&2; exit 1; }}"

    rule:
        name:
            f"{SWEEP.name}_run"
        input:
            script_of(SWEEP.pre),
            class_of(SWEEP, SWEEP.pre_class),
            watched(SWEEP),
            request_of(SWEEP),
            template=start_of(SWEEP),
            step=STEP,
        output:
            directory=directory(case_directory(SWEEP)),
            done=marker(SWEEP, "run"),
        log:
            f"results/{SWEEP.name}/logs/run/{{case}}.log",
        priority: first_one_first(SWEEP)
        group:
            group_of(SWEEP)
        conda:
            "../envs/sweep.yaml"
        threads: threads_of(SWEEP)
        resources:
            **resources_of(SWEEP),
            stage_out=changed_by(SWEEP),
        params:
            spec=step_of(SWEEP, "run"),
            on_failure=on_failure_of(SWEEP),
        shell:
            "python3 {input.step[0]:q} run {params.spec:q} {input.template:q}"
            " {output.directory:q} {output.done:q} {log:q} {params.on_failure}"

    if SWEEP.post:

        rule:
            name:
                f"{SWEEP.name}_post"
            input:
                script_of(SWEEP.post),
                directory=case_directory(SWEEP),
                ran=marker(SWEEP, "run"),
                step=STEP,
            output:
                done=marker(SWEEP, "post"),
            log:
                f"results/{SWEEP.name}/logs/post/{{case}}.log",
            priority: first_one_first(SWEEP)
            group:
                group_of(SWEEP)
            conda:
                "../envs/sweep.yaml"
            resources:
                stage_out=changed_by(SWEEP),
            params:
                spec=step_of(SWEEP, "post"),
                on_failure=on_failure_of(SWEEP),
            shell:
                "python3 {input.step[0]:q} post {params.spec:q} {input.directory:q}"
                " {output.done:q} {log:q} {params.on_failure}"

    elif SWEEP.post_class:

        rule:
            name:
                f"{SWEEP.name}_post"
            input:
                class_of(SWEEP, SWEEP.post_class),
                directory=case_directory(SWEEP),
                ran=marker(SWEEP, "run"),
                request=request_of(SWEEP),
                step=PROCESSORS,
            output:
                done=marker(SWEEP, "post"),
            log:
                f"results/{SWEEP.name}/logs/post/{{case}}.log",
            priority: first_one_first(SWEEP)
            # It removes the marker of a case that has failed, so another try would have no input.
            retries: 0
            localrule: True
            conda:
                "../envs/sweep.yaml"
            params:
                python=PYTHON,
                spec=step_of(SWEEP, "post"),
            shell:
                "{params.python:q} {input.step[0]:q} post {params.spec:q} {input.ran:q}"
                " {output.done:q} {log:q}"
