"""Plots of a dataset as PNG bytes."""

import io
from collections.abc import Mapping, Sequence
from textwrap import wrap
from typing import Any

import numpy as np
import pandas as pd

from compodiff.inspection.drawing import SCORES, SheetRow

_THUMBNAIL = 160  # pixels of the longer edge of an example
_KEPT, _REJECTED = "#4f6d9a", "#d1495b"


def plot_dataset(rows: pd.DataFrame, floors: Mapping[str, float]) -> dict[str, bytes]:
    """Plot the rows of a set: name -> PNG; the same rows give the same bytes."""
    return {
        "relations": plot_relations(rows),
        "acceptance": plot_acceptance(rows),
        "scores": plot_scores(rows, floors),
        "lengths": plot_lengths(rows[rows["accepted"]]),
    }


def plot_relations(rows: pd.DataFrame) -> bytes:
    """Plot accepted and rejected rows of each relation, on a logarithmic axis."""
    counts = rows.groupby(["relation", "accepted"]).size().unstack(fill_value=0)
    figure, axes = _make_figure(4.2, max(2.2, 0.4 * len(counts) + 1))
    for offset, (accepted, colour) in enumerate(((True, _KEPT), (False, _REJECTED))):
        values = counts.get(accepted, pd.Series(0, counts.index))
        places = np.arange(len(counts)) + 0.4 * offset - 0.2
        axes.barh(places, values, 0.38, color=colour, label="accepted" if accepted else "rejected")
    axes.set_yticks(range(len(counts)), [str(name).replace("_", " ") for name in counts.index])
    axes.set_xscale("symlog", linthresh=1)
    axes.set_xlabel("rows")
    figure.legend(loc="outside upper center", ncols=2, frameon=False, fontsize="small")
    return _save_png(figure)


def plot_acceptance(rows: pd.DataFrame) -> bytes:
    """Plot the share of each relation's rows that every filter let through."""
    share = rows.groupby("relation")["accepted"].mean().sort_index()
    figure, axes = _make_figure(4.2, max(2.2, 0.3 * len(share) + 1))
    axes.barh(range(len(share)), share, color=_KEPT)
    axes.set_yticks(range(len(share)), [str(name).replace("_", " ") for name in share.index])
    axes.set(xlim=(0, 1), xlabel="accepted")
    return _save_png(figure)


def plot_scores(rows: pd.DataFrame, floors: Mapping[str, float]) -> bytes:
    """Plot histograms of each filter's score, kept and rejected, with its floor."""
    names = [name for name in SCORES if name in rows and rows[name].notna().any()]
    figure, every = _make_figure(3 * max(1, len(names)), 2.6, max(1, len(names)))
    for name, axes in zip(names, np.atleast_1d(every), strict=False):
        bins = np.linspace(rows[name].min(), rows[name].max() + 1e-6, 41)
        kept, rejected = (rows.loc[rows["accepted"] == which, name].dropna() for which in (True, False))
        axes.hist([kept, rejected], bins, stacked=True, color=[_KEPT, _REJECTED], label=["accepted", "rejected"])
        if name in floors:
            axes.axvline(floors[name], color="#222", linewidth=1)
        axes.set_xlabel(name.replace("_", " "), fontsize="small")
        axes.set_yscale("symlog", linthresh=1)
    return _save_png(figure)


def plot_lengths(rows: pd.DataFrame) -> bytes:
    """Plot how many words captions have."""
    figure, axes = _make_figure(5, 2.6)
    for name in (name for name in ("relative_caption", "target_caption") if name in rows):
        words = rows[name].map(lambda text: len(str(text).split()))
        if len(words):
            axes.hist(words, np.arange(0.5, words.max() + 1.5), alpha=0.6, label=name.replace("_", " "))
    axes.set_xlabel("words")
    figure.legend(loc="outside upper center", ncols=2, frameon=False, fontsize="small")
    return _save_png(figure)


def draw_examples(shown: Sequence[SheetRow], columns: int = 2) -> bytes:
    """Draw rows of a set as pictures: reference, relative caption, target; a picture alone with its text."""
    figure, every = _make_figure(5.2 * columns, 1.5 * -(-len(shown) // columns), columns, -(-len(shown) // columns))
    for axes in np.ravel(every):
        axes.set_axis_off()
    for axes, each in zip(np.ravel(every), shown, strict=False):
        axes.set(xlim=(0, 3.4), ylim=(0, 1), aspect="equal")
        for place, picture in ((0.0, each.reference), (2.4, each.target)):
            if picture is not None:
                small = picture.convert("RGBA")
                small.thumbnail((_THUMBNAIL, _THUMBNAIL))
                wide, high = (side / max(small.size) for side in small.size)
                left, low = place + (1 - wide) / 2, (1 - high) / 2
                axes.imshow(small, extent=(left, left + wide, low, low + high))
        text = "\n".join(wrap(str(each.row["relative_caption"]).split(" / ")[0], 22)[:4])
        middle = 1.7 if each.reference is not None else 1.2
        axes.text(middle, 0.5, text, ha="center", va="center", fontsize="small", parse_math=False)
    return _save_png(figure)


def _make_figure(width: float, height: float, columns: int = 1, rows: int = 1) -> tuple[Any, Any]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(max(width, 4.2), height), layout="constrained")
    return figure, figure.subplots(rows, columns)


def _save_png(figure: Any) -> bytes:
    for axes in figure.axes:
        axes.spines[["top", "right"]].set_visible(False)
    stream = io.BytesIO()
    # No software version in the file: the same rows give the same bytes.
    figure.savefig(stream, format="png", dpi=110, metadata={"Software": None})
    return stream.getvalue()
