"""The outcome of each query of a benchmark, and what one model gains over another."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from compodiff.errors import InputInvalid
from compodiff.outcomes.bootstrap import Bootstrap


@dataclass(frozen=True)
class QueryOutcomes:
    """What one model came to on each query that was scored.

    Attributes:
        queries: a digest of each query, its targets and the gallery: the same whichever model answers it.
        parts: the part of the benchmark that each query belongs to.
        concepts: queries of one concept are drawn together; "" stands for a query of its own.
        outcomes: metric name -> the outcome of each query, in [0, 1].
        bootstrap: how intervals are drawn.
    """

    queries: Sequence[str]
    parts: Sequence[str]
    concepts: Sequence[str]
    outcomes: Mapping[str, Sequence[float]]
    bootstrap: Bootstrap

    @classmethod
    def from_json(cls, content: Any, where: str) -> "QueryOutcomes":
        """Read what `to_json` wrote; `where` names it.

        Raises:
            InputInvalid: it is damaged.
        """
        try:
            queries, parts, concepts = ([str(it) for it in content[name]] for name in ("queries", "parts", "concepts"))
            outcomes = {str(name): [float(each) for each in values] for name, values in content["outcomes"].items()}
            bootstrap = Bootstrap(**content["bootstrap"])
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise InputInvalid(f"{where} does not hold the outcomes of queries; evaluate the model again") from error
        sizes = {len(parts), len(concepts), *(len(values) for values in outcomes.values())}
        if sizes != {len(queries)} or not queries:
            raise InputInvalid(f"{where} holds more of one than of another; evaluate the model again")
        return cls(queries, parts, concepts, outcomes, bootstrap)

    def to_json(self) -> dict[str, Any]:
        """Return the same as JSON types."""
        return asdict(self)


def estimate_gain(new: QueryOutcomes, old: QueryOutcomes, metric: str, *, level: float) -> tuple[float, float] | None:
    """Return the confidence interval of new minus old, query by query; None where they answered other queries.

    Both models meet the same hard and easy queries, so the interval is narrower than that of two which met their own.

    Args:
        new: the outcomes of one model.
        old: those of the other.
        metric: whose mean over parts is compared.
        level: of the interval, such as 0.95.
    """
    if metric not in new.outcomes or metric not in old.outcomes or set(new.queries) != set(old.queries):
        return None
    place = {query: row for row, query in enumerate(old.queries)}
    gains = np.array(new.outcomes[metric]) - np.array(old.outcomes[metric])[[place[query] for query in new.queries]]
    parts = np.array(new.parts)
    rows = [np.flatnonzero(parts == part) for part in dict.fromkeys(new.parts)]
    concepts = [np.array(new.concepts)[each].tolist() for each in rows]
    bootstrap = replace(new.bootstrap, level=level)
    return bootstrap.estimate_intervals([{metric: gains[each]} for each in rows], concepts)[metric]
