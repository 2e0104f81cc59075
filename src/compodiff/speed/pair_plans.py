"""What training material of 10^5, 10^7 or 10^9 pairs takes, beside what `plans` says of pictures.

A pair is a row of a set: two captions or pictures and a relative caption. Stages cost by the row, which is measured by
`compodiff bench data`; GPUs are assumed.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from compodiff.speed.plans import COUNTS, Prices
from compodiff.speed.scale import PlannedSynthesis
from compodiff.speed.synthesis import estimate_seconds_per_picture

_STAGES = ("import", "clean", "embed", "validate", "mix")
_FIGURE = re.compile(r"(\w+), processor seconds at ([\d,]+) rows")
_PICTURES = 2  # of a pair


@dataclass(frozen=True)
class PairRates:
    """Processor seconds of a row in each stage, as `compodiff bench data` measured them over `rows` rows."""

    rows: int
    seconds: Mapping[str, float]

    @classmethod
    def of(cls, measured: Mapping[str, Any]) -> "PairRates":
        """Take the JSON of `compodiff bench data`."""
        seconds, rows = {}, 0
        for row in measured["rows"]:
            found = _FIGURE.fullmatch(row["figure"])
            if found and found[1] in _STAGES:
                rows = int(found[2].replace(",", ""))
                seconds[found[1]] = float(row["measured"]) / rows
        if set(seconds) != set(_STAGES):
            raise ValueError("stages are missing")
        return cls(rows, seconds)


def plan_pairs(
    rates: PairRates, prices: Prices, width: int, gpu_rows: float, counts: Sequence[int] = COUNTS
) -> list[dict[str, Any]]:
    """Return rows of a table: a figure, its value for each count, and how it is known.

    Args:
        rates: what was measured.
        prices: what is assumed.
        width: of an embedding.
        gpu_rows: rows a second that a GPU trains on.
        counts: of pairs.
    """
    drawn = _PICTURES * estimate_seconds_per_picture() / PlannedSynthesis().keep_rate
    trained, hour = 1 / gpu_rows, 3600.0
    work = sum(rates.seconds.values())
    each = {
        f"pairs: {stage}, core hours": (seconds / hour, f"computed ({seconds * 1e3:.2g} ms a row measured)")
        for stage, seconds in rates.seconds.items()
    }
    each |= {
        "pairs: draw their pictures, GPU hours": (drawn / hour, f"assumed ({drawn:.1f} GPU seconds a kept pair)"),
        "pairs: train on each once, GPU hours": (trained / hour, f"assumed ({gpu_rows:g} rows a second)"),
        "pairs: embeddings on the disk, GB": (_PICTURES * 2 * width / 1e9, "computed (float16, two pictures)"),
        "pairs: price but for drawing": (
            work / hour * prices.core_hour + trained / hour * prices.gpu_hour,
            f"computed; {prices.core_hour:g} a core hour and {prices.gpu_hour:g} a GPU hour assumed",
        ),
        "pairs: price of drawing": (drawn / hour * prices.gpu_hour, "assumed"),
    }
    return [
        {"figure": name, **{f"{count:.0e}": value * count for count in counts}, "known": known}
        for name, (value, known) in each.items()
    ]
