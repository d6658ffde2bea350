#!/bin/sh
# properties = {properties}
# The exit code goes to a file, where status.sh reads it, because not every batch system keeps it.
id=${{SLURM_JOB_ID:-${{PBS_JOBID:-${{LSB_JOBID:-$JOB_ID}}}}}}
(
{exec_job}
)
code=$?
echo $code >".snakemake/cluster_logs/$id.exit"
exit $code
