"""Files of a run on the controller's disk. No thread, no node."""
