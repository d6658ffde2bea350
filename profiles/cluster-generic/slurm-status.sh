#!/bin/sh
# Ask Slurm about job $1.
answer=$(squeue --noheader --states=all --format=%T --jobs="$1" 2>&1)
. "$(dirname "$0")/status.sh"
