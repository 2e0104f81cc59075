"""What people said of triplets: the share that is good, by relation and with intervals; whether people agree."""

import csv
import io
import json
import math
from collections import Counter
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import pandas as pd

from compodiff.errors import InputInvalid

GOOD = "good"
RATINGS = (GOOD, "wrong_caption", "wrong_reference", "wrong_target", "no_change", "unsafe")
_Z = 1.959963984540054  # two-sided 95 %


def read_ratings(files: Sequence[Path]) -> pd.DataFrame:
    """Read exports of the sheet, CSV or JSON: columns key, rating, rater (the file's name where no name was given).

    The last rating counts where a rater rated a triplet twice.

    Raises:
        InputInvalid: a file is missing or no export, or a rating is unknown.
    """
    rated = pd.DataFrame([row for path in files for row in _read_rows(path)], columns=["key", "rating", "rater"])
    if unknown := sorted({*rated["rating"]} - {*RATINGS}):
        raise InputInvalid(f"{unknown[0]!r} is no rating; the sheet knows: {', '.join(RATINGS)}")
    return rated.drop_duplicates(["key", "rater"], keep="last", ignore_index=True)


def summarise_ratings(rated: pd.DataFrame, rows: pd.DataFrame) -> dict[str, Any]:
    """Sum up ratings of triplets.

    Args:
        rated: of `read_ratings`.
        rows: of the set, with key, relation and accepted.

    Returns:
        A JSON-able dict: over all and per relation, how many were rated, the share that is good with its interval
        (95 %, Wilson), the faults, and the share in which rating and filters agree; and how raters agree.

    Raises:
        InputInvalid: a rated triplet is not in the dataset, or nothing is rated.
    """
    if rated.empty:
        raise InputInvalid("nothing is rated; rate triplets in the sheet and export them")
    if foreign := sorted({*rated["key"]} - {*rows["key"]}):
        raise InputInvalid(f"{foreign[0]!r} is no triplet of this dataset; give the dataset that was rated")
    joined = rated.merge(rows[["key", "relation", "accepted"]], on="key", validate="many_to_one")
    return {
        "all": _sum_up(joined),
        "relations": {str(name): _sum_up(own) for name, own in joined.groupby("relation")},
        "raters": _compare_raters(rated),
    }


def compute_wilson_interval(good: int, count: int) -> tuple[float, float]:
    """Compute the 95 % interval of a share (Wilson 1927), which holds for few ratings and near 0 and 1."""
    share, z2 = good / count, _Z**2
    centre = (share + z2 / (2 * count)) / (1 + z2 / count)
    half = _Z * math.sqrt(share * (1 - share) / count + z2 / (4 * count**2)) / (1 + z2 / count)
    return max(0.0, centre - half), min(1.0, centre + half)


def compute_kappa(first: Sequence[str], second: Sequence[str]) -> float | None:
    """Compute two raters' agreement beyond chance (Cohen 1960); None where chance alone explains all of it."""
    count = len(first)
    observed = sum(a == b for a, b in zip(first, second, strict=True)) / count
    left, right = Counter(first), Counter(second)
    expected = sum(left[name] * right[name] for name in left) / count**2
    return None if expected == 1 else (observed - expected) / (1 - expected)


def _sum_up(rated: pd.DataFrame) -> dict[str, Any]:
    good = rated["rating"] == GOOD
    faults = rated["rating"][~good].value_counts()
    return {
        "rated": len(rated),
        "good": float(good.mean()),
        "good_interval": list(compute_wilson_interval(int(good.sum()), len(rated))),
        "faults": {str(name): int(count) for name, count in faults.items()},
        "agrees_with_filters": float((good == rated["accepted"]).mean()),
        "agrees_with_filters_interval": list(
            compute_wilson_interval(int((good == rated["accepted"]).sum()), len(rated))
        ),
    }


def _compare_raters(rated: pd.DataFrame) -> list[dict[str, Any]]:
    """Compare each two raters over the triplets that both rated."""
    wide = rated.pivot(index="key", columns="rater", values="rating")
    found = []
    for first, second in combinations(wide.columns, 2):
        both = wide[[first, second]].dropna()
        if both.empty:
            continue
        same = int((both[first] == both[second]).sum())
        found.append(
            {
                "raters": [str(first), str(second)],
                "both_rated": len(both),
                "agree": same / len(both),
                "agree_interval": list(compute_wilson_interval(same, len(both))),
                "kappa": compute_kappa(list(both[first]), list(both[second])),
            }
        )
    return found


def _read_rows(path: Path) -> list[dict[str, str]]:
    try:
        text = path.read_text(encoding="utf-8")
        rows = json.loads(text)["ratings"] if path.suffix == ".json" else list(csv.DictReader(io.StringIO(text)))
        return [{"key": it["key"], "rating": it["rating"], "rater": it.get("rater") or path.stem} for it in rows]
    except OSError as error:
        raise InputInvalid(f"{path} cannot be read ({error.strerror}); export ratings from the sheet") from error
    except (ValueError, KeyError, TypeError) as error:
        raise InputInvalid(f"{path} is no export of the sheet ({error}); export ratings as CSV or JSON") from error
