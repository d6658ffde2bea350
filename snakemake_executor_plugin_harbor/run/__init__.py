"""The controller's threads, and what they own: the pool, the links, the journal and the control socket."""
