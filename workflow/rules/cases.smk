"""Define the rules of each sweep: NAME_template, NAME_run and, with a post-processor, NAME_post.

They use `shell:` only, so that a node needs nothing but python3 and what the user's own commands need. Each file that a
job reads or writes is declared and lies in the project, so that it can be copied to a node that does not share our files.
"""

# Every job reads these scripts. They are no reason to run a job again, because a new version of ours must not repeat cases.
STEP = ancient(in_project_with("step.py", "case_files.py", "command_line.py"))

for SWEEP in SWEEPS.values():

    rule:
        name:
            f"{SWEEP.name}_template"
        input:
            template_of(SWEEP),
            step=STEP,
        output:
            directory(f"results/{SWEEP.name}/.steps/template"),
        log:
            f"results/{SWEEP.name}/logs/template.log",
        localrule: True
        conda:
            "../envs/sweep.yaml"
        params:
            source=template_path_of(SWEEP),
            listing=sweep_template.template_listing(SWEEP.template),
        shell:
            "python3 {input.step[0]:q} template {params.source:q} {output:q} 2> {log:q}"
            " || {{ cat {log:q} >&2; exit 1; }}"

    rule:
        name:
            f"{SWEEP.name}_run"
        input:
            script_of(SWEEP.pre),
            template=f"results/{SWEEP.name}/.steps/template",
            step=STEP,
        output:
            directory=directory(case_directory(SWEEP)),
            done=marker(SWEEP, "run"),
        log:
            f"results/{SWEEP.name}/logs/run/{{case}}.log",
        conda:
            "../envs/sweep.yaml"
        threads: SWEEP.threads
        resources:
            **resources_of(SWEEP),
        params:
            spec=step_of(SWEEP, "run"),
        shell:
            "python3 {input.step[0]:q} run {params.spec:q} {input.template:q}"
            " {output.directory:q} {output.done:q} {log:q}"

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
            conda:
                "../envs/sweep.yaml"
            params:
                spec=step_of(SWEEP, "post"),
            shell:
                "python3 {input.step[0]:q} post {params.spec:q} {input.directory:q} {output.done:q} {log:q}"
