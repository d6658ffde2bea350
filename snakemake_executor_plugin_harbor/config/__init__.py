"""This folder reads and checks the settings and host lists that the user wrote. It imports only `core`."""
