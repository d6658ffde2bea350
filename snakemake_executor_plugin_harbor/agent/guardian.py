"""The guardian is the parent of the agent. It takes over if the agent is killed.

It waits and does nothing else. If the agent is killed, its jobs become children of the guardian, which gets their exit
codes, and then does for them what the agent would have done. It is forked once per connection, before the agent begins,
so that no job costs more.
"""

import os
import signal

from harbor_process_control import become_subreaper, set_process_name


def fork_agent(wire, meter, shutdown):
    """Fork. Returns False in the agent, which is the child.

    In the guardian it returns True, once the agent has died. If the agent ends by itself, the guardian ends with it.
    """
    become_subreaper()
    spent = meter.own_seconds()
    pid = os.fork()
    if pid == 0:
        meter.continue_in_child(spent)
        become_subreaper()
        set_process_name(b"harbor-agent")
        return False
    set_process_name(b"harbor-guardian")
    for number in (signal.SIGHUP, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    shutdown.survive_term()  # `pkill python3` sends TERM to both, and so does a shutdown of the node.
    wire.close()  # so that the connection ends with the agent
    _, status = os.waitpid(pid, 0)
    if os.WIFEXITED(status) and os.WEXITSTATUS(status) == 0:
        os._exit(0)
    return True
