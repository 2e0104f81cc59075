"""Whether live queries still are what the champion was measured on: kept embeddings, tests, a report."""
