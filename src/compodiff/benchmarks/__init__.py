"""The field's benchmarks and your own: one interface, one way to score, numbers one can trust."""
