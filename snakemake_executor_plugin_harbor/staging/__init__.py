"""Moves the files of attempts to nodes that do not have the working directory, and back."""
