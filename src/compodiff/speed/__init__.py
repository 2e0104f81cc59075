"""How fast parts of the system are, on this machine."""
