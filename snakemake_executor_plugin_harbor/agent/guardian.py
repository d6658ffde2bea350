"""The guardian: the agent's parent, there for the case that the agent is killed.

It waits, and does nothing else. Jobs whose agent is gone become its children, with their exit codes, and it does for
them what the agent would have done. Forked once a connection, before the agent has begun: nothing is paid for by a job.
"""

import os
import signal

from harbor_processes import become_subreaper, name_process


def guarded(agent):
    """Fork. False in the agent. True in the guardian, and only once the agent has died; it ends with one that ends."""
    become_subreaper()
    spent = agent.meter.own_seconds()
    pid = os.fork()
    if pid == 0:
        agent.meter.forked(spent)
        become_subreaper()
        name_process(b"harbor-agent")
        return False
    name_process(b"harbor-guardian")
    for number in (signal.SIGHUP, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    agent.shutdown.heed()  # `pkill python3` hits both, and so does a shutdown
    agent.wire.close()  # the connection is to end with the agent
    _, status = os.waitpid(pid, 0)
    if os.WIFEXITED(status) and os.WEXITSTATUS(status) == 0:
        os._exit(0)
    return True
