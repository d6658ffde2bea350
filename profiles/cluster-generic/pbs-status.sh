#!/bin/sh
# Ask PBS about job $1. Without -x, OpenPBS does not show ended jobs. With -x, Torque prints XML.
answer=$(qstat -f "$1" 2>&1 || qstat -x -f "$1" 2>&1)
. "$(dirname "$0")/status.sh"
