"""A dataset is surveyed, and cleaned of what is unsafe, contaminated or a near-duplicate."""
