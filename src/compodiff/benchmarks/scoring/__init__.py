"""From ranked galleries to figures."""
