"""From noise to an embedding: schedule, solvers, guidance."""
