"""Which fault strikes when: the same from the same seed."""

import random
from collections.abc import Sequence
from dataclasses import dataclass

MEAN_GAP = 12.0  # seconds: some 200 faults an hour, where recovery takes five seconds
# How often each strikes, as a weight, and for how many seconds at least and at most.
KINDS = {
    "kill worker": (1.0, (0, 0)),
    "kill flow": (1.5, (0, 0)),
    "kill stage": (2.5, (0, 0)),
    "kill serve": (1.0, (0, 0)),
    "kill mlflow": (1.5, (0, 0)),
    "kill prefect": (1.0, (0, 0)),
    "restart database": (1.0, (1, 5)),
    "slow database": (1.0, (5, 15)),
    "hang mlflow": (1.0, (5, 15)),
    "cut network": (1.5, (5, 20)),
    "full disk": (1.5, (5, 15)),
    "clock an hour behind": (0.5, (0, 0)),
    "clock a day ahead": (0.5, (0, 0)),
}
_SPARED_LATE = ("kill worker", "kill serve")  # their memory is compared in the last part, which a kill would end
_LATE = 0.5


@dataclass(frozen=True)
class Fault:
    """What strikes, after how many seconds, and for how long."""

    at: float
    kind: str
    seconds: float


def plan_faults(seed: int, seconds: float, possible: Sequence[str]) -> list[Fault]:
    """Return the faults of a soak of `seconds`; of the seed alone, where all kinds are possible."""
    rng = random.Random(seed)
    at, faults = rng.expovariate(1 / MEAN_GAP), []
    while at < seconds:
        kinds = [kind for kind in KINDS if at < _LATE * seconds or kind not in _SPARED_LATE]
        (kind,) = rng.choices(kinds, [KINDS[each][0] for each in kinds])
        fault = Fault(at, kind, rng.uniform(*KINDS[kind][1]))
        if kind in possible:
            faults.append(fault)
        at += fault.seconds + rng.expovariate(1 / MEAN_GAP)
    return faults
