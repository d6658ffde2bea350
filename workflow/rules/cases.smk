"""Rules of each sweep: NAME_template, NAME_prepare, NAME_run, NAME_post.

They use `shell:` only: a node needs python3 and what the user's own commands need, nothing else.
"""

for SWEEP in SWEEPS.values():

    rule:
        name:
            f"{SWEEP.name}_template"
        input:
            sweep_config.template_files(SWEEP.template),
        output:
            f"results/{SWEEP.name}/.steps/template",
        log:
            f"results/{SWEEP.name}/logs/template.log",
        localrule: True
        params:
            listing=sweep_config.template_listing(SWEEP.template),
        shell:
            "echo {params.listing} > {output} 2> {log}"

    rule:
        name:
            f"{SWEEP.name}_prepare"
        input:
            template=f"results/{SWEEP.name}/.steps/template",
            scripts=script_of(SWEEP.pre),
            step=STEP,
        output:
            touch(marker(SWEEP, "prepare")),
        log:
            f"results/{SWEEP.name}/logs/prepare/{{case}}.log",
        params:
            spec=step_of(SWEEP, "prepare"),
        shell:
            "python3 {input.step:q} {params.spec:q} 2> >(tee {log:q} >&2)"

    rule:
        name:
            f"{SWEEP.name}_run"
        input:
            prepared=marker(SWEEP, "prepare"),
            step=STEP,
        output:
            touch(marker(SWEEP, "run")),
        log:
            f"results/{SWEEP.name}/logs/run/{{case}}.log",
        threads: SWEEP.threads
        resources:
            **SWEEP.resources,
        params:
            spec=step_of(SWEEP, "run"),
        shell:
            "python3 {input.step:q} {params.spec:q} 2> >(tee {log:q} >&2)"

    if SWEEP.post:

        rule:
            name:
                f"{SWEEP.name}_post"
            input:
                ran=marker(SWEEP, "run"),
                scripts=script_of(SWEEP.post),
                step=STEP,
            output:
                touch(marker(SWEEP, "post")),
            log:
                f"results/{SWEEP.name}/logs/post/{{case}}.log",
            params:
                spec=step_of(SWEEP, "post"),
            shell:
                "python3 {input.step:q} {params.spec:q} 2> >(tee {log:q} >&2)"
