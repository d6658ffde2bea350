"""Everything that touches a node. May import `core`, never `run`, `cli` or the executor."""
