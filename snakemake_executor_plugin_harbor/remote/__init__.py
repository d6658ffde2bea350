"""This folder holds everything that connects to a node. It imports only `core`."""
