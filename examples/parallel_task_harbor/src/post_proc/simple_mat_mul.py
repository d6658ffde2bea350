"""A post-processor in the way of Parallel-Task-Harbor: each case adds a line to the one file of the run."""

import fcntl


class PostProcessor:
    def __init__(self, key):
        self.key = key

    def postProcess(self, request):
        with open(f"{request.getValue('TARGET_DIR')}/run.log") as log:
            line = log.readline()
        with open(f"{request.getValue('BASE_PATH')}/mat_mul_{self.key}.log", "a") as total:
            fcntl.flock(total, fcntl.LOCK_EX)
            total.write(line)
