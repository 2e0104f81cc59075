"""Who is champion: the gate of params.yaml, promotion and rollback, each decision recorded on the version it is about.

The registry's aliases are set one after the other. The order is such that a kill between two steps leaves one champion,
and that the same command, run again, completes what was begun.
"""

import fcntl
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from compodiff.errors import InputInvalid, PromotionRefused
from compodiff.params import BenchmarkGate, PromotionParams
from compodiff.tracking.registry import CHALLENGER, CHAMPION, MODEL, PREVIOUS, Version, version_at
from compodiff.tracking.store import Store, answering, open_store

FIGURE = "recall_at_10"

Figures = Mapping[str, float]


@dataclass(frozen=True)
class Change:
    """What a promotion or a rollback came to: the champion before (None: there was none) and after."""

    before: str | None
    after: str

    @property
    def made(self) -> bool:
        """Whether the champion is another one now."""
        return self.before != self.after


def promote(project: Path, gate: PromotionParams, *, min_relation_queries: int) -> Change:
    """Make the challenger champion if it passes the gate; a challenger that is champion already stays it.

    Args:
        project: the folder that holds params.yaml.
        gate: what the challenger must show.
        min_relation_queries: relations with fewer queries say too little to object by.

    Raises:
        InputInvalid: no version is registered.
        PromotionRefused: with every reason; the champion is as it was.
        ResourceUnavailable: MLflow cannot be reached.
    """
    store = open_store(project)
    with _alone(project):
        challenger, champion = version_at(store, CHALLENGER), version_at(store, CHAMPION)
        if challenger is None:
            raise InputInvalid(f"no version of {MODEL} is registered; run: dvc repro register")
        before = champion.number if champion else None
        if before == challenger.number:
            return Change(before, before)
        old = champion.figures if champion else None
        reasons = objections(challenger.figures, old, gate, min_relation_queries=min_relation_queries)
        _record(
            store, challenger, {"verdict": "refused" if reasons else "promoted", "reasons": "; ".join(reasons)}, before
        )
        if reasons:
            raise PromotionRefused(f"version {challenger.number} of {MODEL} is not promoted: {'; '.join(reasons)}")
        with answering(store.uri):
            if champion:
                store.client.set_registered_model_alias(MODEL, PREVIOUS, champion.number)
            store.client.set_registered_model_alias(MODEL, CHAMPION, challenger.number)
        return Change(before, challenger.number)


def rollback(project: Path) -> Change:
    """Make the previous champion champion again; the one it replaces becomes the previous.

    Raises:
        InputInvalid: there is no previous champion.
        ResourceUnavailable: MLflow cannot be reached.
    """
    store = open_store(project)
    with _alone(project):
        previous, champion = version_at(store, PREVIOUS), version_at(store, CHAMPION)
        if previous is None or champion is None or previous.number == champion.number:
            raise InputInvalid(f"{MODEL} has no previous champion to go back to; see: make ui")
        _record(store, previous, {"verdict": "rolled back to", "reasons": ""}, champion.number)
        with answering(store.uri):
            store.client.set_registered_model_alias(MODEL, CHAMPION, previous.number)
            store.client.set_registered_model_alias(MODEL, PREVIOUS, champion.number)
        return Change(champion.number, previous.number)


def objections(
    challenger: Figures, champion: Figures | None, gate: PromotionParams, *, min_relation_queries: int
) -> list[str]:
    """Return why `challenger` may not replace `champion` (None: there is none); nothing where it may."""
    reasons: list[str] = []
    for name, limits in gate.benchmarks.items():
        reasons += _objections_to_whole(f"{name}/composed/{FIGURE}", challenger, champion, limits)
        if champion is not None:
            relations = _relations(f"{name}/composed/relations/", champion, min_relation_queries)
            reasons += _objections_to_relations(relations, challenger, champion, limits)
    return reasons


def _objections_to_whole(
    figure: str, challenger: Figures, champion: Figures | None, limits: BenchmarkGate
) -> Iterator[str]:
    new = challenger.get(figure)
    if new is None:
        yield f"{figure} was not measured"
        return
    if new < limits.floor:
        yield f"{figure} is {new:.3f}, below the floor of {limits.floor:.3f}"
    if champion is not None and figure in champion and new < champion[figure] + limits.margin:
        yield f"{figure} is {new:.3f}, which does not beat the champion's {champion[figure]:.3f} by {limits.margin:.3f}"


def _relations(prefix: str, figures: Figures, min_relation_queries: int) -> list[str]:
    """Return the figures of relations that have enough queries to say something."""
    return sorted(
        figure
        for figure in figures
        if figure.startswith(prefix)
        and figure.endswith(f"/{FIGURE}")
        and figures.get(figure.replace(f"/{FIGURE}", "/queries"), 0) >= min_relation_queries
    )


def _objections_to_relations(
    relations: list[str], challenger: Figures, champion: Figures, limits: BenchmarkGate
) -> Iterator[str]:
    for figure in relations:
        old, new = champion[figure], challenger.get(figure)
        if new is None:
            yield f"{figure} was not measured, the champion has {old:.3f}"
        elif new < old - limits.max_relation_drop:
            yield f"{figure} falls from {old:.3f} to {new:.3f}, by more than {limits.max_relation_drop:.3f}"


def _record(store: Store, version: Version, verdict: Mapping[str, str], before: str | None) -> None:
    figures = {name: value for name, value in version.figures.items() if name.endswith(f"/composed/{FIGURE}")}
    record = {
        **verdict,
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "by": os.environ.get("USER") or f"uid {os.getuid()}",
        "from": before or "none",
        "to": version.number,
        "figures": ", ".join(f"{name} {value:.4f}" for name, value in sorted(figures.items())),
    }
    with answering(store.uri):
        for key, value in record.items():
            store.client.set_model_version_tag(MODEL, version.number, f"promotion.{key}", value)


@contextmanager
def _alone(project: Path) -> Iterator[None]:
    """Hold every other promotion and rollback of this project off."""
    lock = project / "mlruns" / "promotion.lock"
    lock.parent.mkdir(exist_ok=True)
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
