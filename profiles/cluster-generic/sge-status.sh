#!/bin/sh
# Ask Grid Engine about job $1.
answer=$(qstat -j "$1" 2>&1)
. "$(dirname "$0")/status.sh"
