# Print what has become of job $1 of a batch system: running, success or failed. SYSTEM-status.sh reads this file after it
# has asked the batch system. $answer is what that said, be it a state or an error.
file=.snakemake/cluster_logs/$1

# jobscript.sh has written the exit code.
if [ -s "$file.exit" ]; then
    case $(cat "$file.exit") in 0) echo success ;; *) echo failed ;; esac
    rm -f "$file.exit" "$file.gone"
    exit
fi

# The job waits or runs, or it was killed, or the network file system does not show the file yet.
case $answer in
    COMPLETED | DONE | *[Ee]"xit_status = 0"* | *"exit_status  0 "*)
        echo success ;;
    BOOT_FAIL | CANCELLED | DEADLINE | FAILED | NODE_FAIL | OUT_OF_MEMORY | TIMEOUT | EXIT | \
        *"job_state = "[CF]* | *"exit_status  "[1-9]*)
        echo failed ;;
    *"Invalid job id"* | *"Unknown Job"* | *"has finished"* | *"do not exist"* | *"is not found"*)
        # The batch system has forgotten the job. Its exit code may still come.
        [ -e "$file.gone" ] || : >"$file.gone"
        if [ -n "$(find "$file.gone" -mmin +1)" ]; then echo failed; else echo running; fi ;;
    *)
        # This is any other state, or the batch system does not answer at the moment.
        echo running ;;
esac
