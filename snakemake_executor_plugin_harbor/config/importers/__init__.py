"""This folder reads the configurations of the tools that harbor replaces."""
