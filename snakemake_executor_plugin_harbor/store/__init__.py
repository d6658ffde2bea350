"""The files of a run on the controller's disk, and in the shared working directory. No threads, no nodes."""
