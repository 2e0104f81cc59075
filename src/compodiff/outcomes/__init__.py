"""What came of each query of a benchmark, and how sure a mean over them is."""

from compodiff.outcomes.bootstrap import Bootstrap
from compodiff.outcomes.query_outcomes import QueryOutcomes, estimate_gain

__all__ = ["Bootstrap", "QueryOutcomes", "estimate_gain"]
