"""Files: written whole or not at all, deleted only where they are ours, in shards and tables."""
