"""Everything that touches the controller's disk and clock. May import `core` and `remote`."""
