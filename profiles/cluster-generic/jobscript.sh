#!/bin/sh
# properties = {properties}
# status.sh reads the exit code from this file. PBS starts jobs in the home directory.
cd "${{PBS_O_WORKDIR:-.}}"
id=${{SLURM_JOB_ID:-${{PBS_JOBID:-${{LSB_JOBID:-$JOB_ID}}}}}}
(
{exec_job}
)
code=$?
echo $code >".snakemake/cluster_logs/$id.exit"
exit $code
