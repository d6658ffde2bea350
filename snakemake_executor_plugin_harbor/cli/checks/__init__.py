"""The checks of `harbor doctor`: of this machine and of each node."""
