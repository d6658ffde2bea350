"""Two ways over SSH: paramiko and the ssh program."""
