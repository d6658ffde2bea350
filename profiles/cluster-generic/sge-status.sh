#!/bin/sh
# Ask Grid Engine about job $1. qstat knows it until it has ended, and qacct knows it some time later.
answer=$(qstat -j "$1" 2>&1 || qacct -j "$1" 2>&1)
. "$(dirname "$0")/status.sh"
