#!/bin/sh
# Print what has become of a job of a batch system: running, success or failed. Usage: status.sh JOBID
file=.snakemake/cluster_logs/$1

# jobscript.sh has written the exit code.
if [ -s "$file.exit" ]; then
    case $(cat "$file.exit") in 0) echo success ;; *) echo failed ;; esac
    rm -f "$file.exit" "$file.gone"
    exit
fi

# The job waits or runs, or it was killed, or the network file system does not show the file yet.
if command -v squeue >/dev/null; then
    answer=$(squeue --noheader --states=all --format=%T --jobs="$1" 2>&1)
elif command -v bjobs >/dev/null; then
    answer=$(bjobs -noheader -o stat "$1" 2>&1)
elif [ -n "$SGE_ROOT" ]; then
    answer=$(qstat -j "$1" 2>&1)
else
    answer=$(qstat -f "$1" 2>&1 || qstat -x -f "$1" 2>&1)
fi
case $answer in
    COMPLETED | DONE | *[Ee]"xit_status = 0"*)
        echo success ;;
    BOOT_FAIL | CANCELLED | DEADLINE | FAILED | NODE_FAIL | OUT_OF_MEMORY | TIMEOUT | EXIT | *"job_state = "[CF]*)
        echo failed ;;
    *"Invalid job id"* | *"Unknown Job"* | *"has finished"* | *"do not exist"* | *"is not found"*)
        # The batch system has forgotten the job. Its exit code may still come.
        [ -e "$file.gone" ] || : >"$file.gone"
        if [ -n "$(find "$file.gone" -mmin +1)" ]; then echo failed; else echo running; fi ;;
    *)
        # This is any other state, or the batch system does not answer at the moment.
        echo running ;;
esac
