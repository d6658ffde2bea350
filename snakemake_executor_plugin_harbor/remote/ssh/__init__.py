"""The two SSH transports: by paramiko and by the ssh program."""
