"""Views of a run from outside. Every face (the command, a dashboard) reads a run through these modules."""
