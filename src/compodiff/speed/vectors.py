"""Made vectors that lie as real ones do: the same seed gives the same, on every machine, shard by shard.

Directions count less and less, by a power law, and vectors lie in groups of groups. The numbers below give 7,628
vectors the spread of as many of the default encoder over emoji: cosines of pairs deviate by 0.15 (0.15 measured), that
to the nearest is 0.79 (0.80), to the tenth nearest 0.70 (0.67), and 46 directions (42) hold the variance, by their
participation ratio. Shapes: N vectors, D width.
"""

from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

SEED = 17
_DECAY = 0.42  # of the directions' scale
_SHARES = (0.27, 0.20, 0.25, 0.28)  # of the variance: between outer groups, inner ones, families, and in a family
_OUTER, _INNER, _FAMILY = 100, 10_000, 16  # outer and inner groups; members of a family, which lie in one shard
_FOLDERS = ("summer", "winter", "spring", "autumn")


def draw_shard(number: int, count: int, width: int, queries: int = 0) -> tuple[NDArray[np.float32], ...]:
    """Return the vectors (N, D) of a shard, and others of the same families for queries (n, D)."""
    common = np.random.default_rng([SEED, width])
    outer, inner = (common.standard_normal((groups, width), np.float32) for groups in (_OUTER, _INNER))
    own = np.random.default_rng([SEED, width, number])
    families = own.standard_normal((max(1, count // _FAMILY), width), np.float32)
    group_of = own.integers(_INNER, size=len(families))
    weights = np.sqrt(_SHARES).astype(np.float32)
    scale = np.arange(1, width + 1, dtype=np.float32) ** -_DECAY

    def draw(drawn: int) -> NDArray[np.float32]:
        family = own.integers(len(families), size=drawn)
        group = group_of[family]
        vectors: NDArray[np.float32] = weights[3] * own.standard_normal((drawn, width), np.float32)
        vectors += weights[2] * families[family]
        vectors += weights[1] * inner[group]
        vectors += weights[0] * outer[group % _OUTER]
        vectors *= scale
        return vectors

    return draw(count), draw(queries)


def write_shard(folder: Path, number: int, count: int, width: int) -> None:
    """Write a shard as an array of float16 with the table of its rows."""
    vectors, _ = draw_shard(number, count, width)
    np.save(folder / f"shard-{number:05d}.npy", vectors.astype(np.float16))
    rows = np.arange(count)
    table = pd.DataFrame(
        {
            "picture_id": [f"{number:05d}/{row:08d}.jpg" for row in rows],
            "folder": np.array(_FOLDERS)[rows % len(_FOLDERS)],
            "size": rows * 37 % 1_000_003,
        }
    )
    table.to_parquet(folder / f"shard-{number:05d}.parquet", index=False)
