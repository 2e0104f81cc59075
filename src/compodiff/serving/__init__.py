"""Search for people and programs: an HTTP API and a page over one index, in one process."""
