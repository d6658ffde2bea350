"""This folder holds the two SSH transports: paramiko and the ssh program."""
