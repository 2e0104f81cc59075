"""Processes that flows start, watch and end: DVC, what outlives a kill, locks."""
