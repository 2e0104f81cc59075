"""What each filter's floor costs: how its scores lie, and how much would be kept if the floor stood elsewhere.

The stage validate writes the scores of kept and rejected rows, so a floor is chosen without making anything again.
"""

import io
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from compodiff.params import SimilarityFloors
from compodiff.storage.atomic import replace_folder

KEPT, REJECTED, FLOOR = "#d1495b", "#9aa5b1", "#222222"


def tabulate_acceptance(
    scores: pd.DataFrame, floors: SimilarityFloors, name: str, at: NDArray[np.float64]
) -> pd.DataFrame:
    """Which fraction of the rows is kept where the floor of filter `name` stands at each value of `at`.

    A row without a score, for want of a caption, fails nothing.

    Returns:
        Columns floor, alone (by this filter), together (by all five, the other floors where they are).
    """
    others = np.ones(len(scores), dtype=bool)
    for other, floor in floors.model_dump().items():
        if other != name:
            others &= ~(scores[other] < np.float32(floor)).to_numpy()
    own = scores[name].to_numpy()
    # Of sorted scores, those from the first one that reaches the floor on are kept; what has no score stands last.
    alone, together = (
        1 - np.searchsorted(np.sort(values), at.astype(np.float32), side="left") / max(len(values), 1)
        for values in (own, own[others])
    )
    return pd.DataFrame({"floor": at, "alone": alone, "together": together * others.mean()})


def plot_threshold(rows: pd.DataFrame, floors: SimilarityFloors, name: str) -> bytes:
    """Draw one filter as PNG: above the histogram of its scores, below what is kept at which floor."""
    from matplotlib.figure import Figure

    scores, floor = rows[name].to_numpy(), floors.model_dump()[name]
    edges = np.linspace(min(np.nanmin(scores), floor), max(np.nanmax(scores), floor) + 1e-6, 61)
    figure = Figure(figsize=(6.4, 5.2), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True)
    kept = rows["accepted"].to_numpy(dtype=bool)
    above.hist(
        [scores[kept], scores[~kept]],
        edges,
        stacked=True,
        color=[KEPT, REJECTED],
        label=["kept by all filters", "rejected"],
    )
    curve = tabulate_acceptance(rows, floors, name, edges)
    below.plot(curve["floor"], curve["alone"], color=REJECTED, label="by this filter alone")
    below.plot(curve["floor"], curve["together"], color=KEPT, label="by all filters")
    now = tabulate_acceptance(rows, floors, name, np.array([floor])).iloc[0]
    above.set(ylabel="rows", title=name.replace("_", " "))
    below.set(
        ylim=(0, 1),
        ylabel="fraction kept",
        xlabel=f"floor, now {floor:g}: keeps {now['alone']:.1%} alone, {now['together']:.1%} with the others",
    )
    for axes in (above, below):
        axes.axvline(floor, color=FLOOR, linestyle="--", linewidth=1)
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(axis="y", alpha=0.3)
        axes.legend(frameon=False, fontsize="small")
    stream = io.BytesIO()
    # No software version in the file: the same rows give the same bytes.
    figure.savefig(stream, format="png", dpi=110, metadata={"Software": None})
    return stream.getvalue()


def plot_thresholds(rows: pd.DataFrame, floors: SimilarityFloors, folder: Path) -> list[Path]:
    """Write `NAME.png` of every filter that judged a row as the folder `folder`, whole or not at all.

    Args:
        rows: of a set, kept and rejected; columns as in `SimilarityFloors`, and accepted.
        floors: those in force.
        folder: made if it is not there.

    Raises:
        InputInvalid: `folder` holds something that is no such plots.
    """
    names = [name for name in SimilarityFloors.model_fields if rows[name].notna().any()]
    with replace_folder(folder, "filter plots") as temporary:
        for name in names:
            (temporary / f"{name}.png").write_bytes(plot_threshold(rows, floors, name))
    return [folder / f"{name}.png" for name in names]
