"""How long a dataset takes on some GPUs: a simulation of shards, workers and kills, from seconds per item.

Units: seconds; a candidate is two pictures drawn for a caption pair; the best of a pair's go to the filters, and what
they let through is a triplet.
"""

import heapq
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from math import ceil
from typing import Any

import numpy as np


@dataclass(frozen=True)
class SynthesisCosts:
    """Seconds per item on one worker.

    Attributes:
        caption: making a caption pair.
        picture: drawing one picture on the worker's GPU.
        embed: embedding one picture.
        keep: scoring a candidate, and writing it if it is kept.
    """

    caption: float
    picture: float
    embed: float
    keep: float

    def compute_pair_cost(self, candidates: int = 1, kept: int = 1) -> float:
        """Return all that a caption pair costs, one thing after the other.

        Where more candidates are drawn than kept, they are embedded once more, to choose among them.
        """
        chosen = candidates if candidates > kept else 0
        return self.caption + 2 * candidates * self.picture + 2 * (chosen + kept) * self.embed + kept * self.keep


@dataclass(frozen=True)
class PlannedSynthesis:
    """What is to be made, and what is assumed of the machines.

    Attributes:
        triplets: how many are wanted.
        keep_rate: triplets that come of a caption pair.
        per_shard: caption pairs of a shard.
        candidates: drawn for a caption pair.
        kept: of them, at most so many go to the filters.
        start: until a worker has its weights.
        hours_between_kills: of one worker, on average (preemption, faults).
        spread: of a shard's time, standard deviation over mean.
        price: of a GPU hour.
    """

    triplets: int = 18_800_000
    keep_rate: float = 0.31
    per_shard: int = 1024
    candidates: int = 1
    kept: int = 1
    start: float = 120.0
    hours_between_kills: float = 24.0
    spread: float = 0.05
    price: float = 2.0

    @property
    def shards(self) -> int:
        """How many shards give that many triplets."""
        return ceil(self.triplets / self.keep_rate / self.per_shard)


def predict(
    costs: SynthesisCosts, undertaking: PlannedSynthesis, gpus: Sequence[int], seed: int = 17
) -> list[dict[str, Any]]:
    """Predict wall time and cost for each number of GPUs; the same seed gives the same figures."""
    return [_predict_row(costs, undertaking, count, seed) for count in gpus]


def simulate(
    costs: SynthesisCosts, it: PlannedSynthesis, gpus: int, generator: np.random.Generator
) -> tuple[float, int]:
    """Give shards out one at a time, as `execution` does: a killed worker's shard is given out again.

    Returns:
        Seconds until the last shard is done, and how many workers were killed.
    """
    usual = costs.compute_pair_cost(it.candidates, it.kept) * it.per_shard
    took = usual * np.clip(generator.normal(1, it.spread, it.shards), 0.1, None)
    free = [it.start] * gpus
    lifetimes = [_draw_lifetime(it, generator) for _ in range(gpus)]
    slots = [(when, slot) for slot, when in enumerate(free)]
    ends_of_life = [it.start + life for life in lifetimes]
    heapq.heapify(slots)
    kills, last = 0, 0.0
    for seconds in took:
        while True:
            now, slot = heapq.heappop(slots)
            if now + seconds <= ends_of_life[slot]:
                break
            back = max(now, ends_of_life[slot]) + it.start
            ends_of_life[slot] = back + _draw_lifetime(it, generator)
            kills += 1
            heapq.heappush(slots, (back, slot))
        last = max(last, now + seconds)
        heapq.heappush(slots, (now + seconds, slot))
    return last, kills


def _draw_lifetime(it: PlannedSynthesis, generator: np.random.Generator) -> float:
    return float(generator.exponential(3600 * it.hours_between_kills))


def _predict_row(costs: SynthesisCosts, it: PlannedSynthesis, gpus: int, seed: int) -> dict[str, Any]:
    seconds, kills = simulate(costs, it, gpus, np.random.default_rng([seed, gpus]))
    ideal = costs.compute_pair_cost(it.candidates, it.kept) * it.shards * it.per_shard / gpus
    hours = seconds / 3600
    return {
        "gpus": gpus,
        "wall_hours": hours,
        "wall_days": hours / 24,
        "gpu_hours": hours * gpus,
        "cost": hours * gpus * it.price,
        "triplets_per_second": it.triplets / seconds,
        "workers_killed": kills,
        "share_of_ideal": ideal / seconds,
    }


def describe_scale(costs: SynthesisCosts, it: PlannedSynthesis) -> dict[str, Any]:
    """Return all that a prediction depends on, as JSON types."""
    return {
        "seconds": asdict(costs) | {"pair": costs.compute_pair_cost(it.candidates, it.kept)},
        "undertaking": asdict(it) | {"shards": it.shards},
    }
