#!/bin/sh
# Ask LSF about job $1.
answer=$(bjobs -noheader -o stat "$1" 2>&1)
. "$(dirname "$0")/status.sh"
