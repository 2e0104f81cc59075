"""Every promotion, refusal and rollback in one order: the truth about who is champion; the aliases are its copy.

A decision is one version of the registered model `compodiff-decisions`: its tags are the record, its run holds the
same as an artifact. MLflow numbers versions within a transaction, so all machines of a server see one order. A decision
names the one that it was taken after: of two taken after the same one the first counts, the other is void and its
author looks again. No lock has to be held, and none can be left behind.

A decision is made by that one write. Who is killed before it has decided nothing; who is killed after it, while the
aliases still follow, leaves the champion before or the champion after, and the next decision first sets them right.
"""

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from compodiff.tracking.registry import CHAMPION, MODEL, PREVIOUS, ensure_registered_model, find_number_at
from compodiff.tracking.store import Store, require_answers

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion

DECISIONS = "compodiff-decisions"
PROMOTED, REFUSED, ROLLED_BACK = "promoted", "refused", "rolled back"

_NONE = "none"  # MLflow keeps no empty tags
_LONGEST_TAG = 4000
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ChampionState:
    """Who is champion after the decisions so far.

    Attributes:
        last: number of the last decision that counts; 0 before the first.
        champion: version number, or None.
        previous: version number of the champion before, or None.
        fallen: versions that were rolled back from; they are not promoted again.
    """

    last: int
    champion: str | None
    previous: str | None
    fallen: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Decision:
    """What is decided, by whom and why.

    Attributes:
        verdict: promoted, refused or rolled back.
        by: who decided.
        at: when, in ISO 8601.
        about: the version that it is about.
        champion: version number of the champion from now on, or None.
        previous: version number of the one before, or None.
        reasons: of a refusal all objections, of a rollback what was given as its reason.
        figures: what it was decided on, by version number.
    """

    verdict: str
    by: str
    at: str
    about: str
    champion: str | None
    previous: str | None
    reasons: tuple[str, ...]
    figures: Mapping[str, Mapping[str, float]]


def settle_aliases(store: Store) -> ChampionState:
    """Return who is champion, and have the aliases say so, whatever a kill or a hand left them at.

    Raises:
        ResourceUnavailable: MLflow cannot be reached.
    """
    standing = _replay(store)
    found = (find_number_at(store, CHAMPION), find_number_at(store, PREVIOUS))
    if found == (standing.champion, standing.previous):
        return standing
    with require_answers(store.uri):
        there = {str(each.version) for each in store.client.search_model_versions(f"name = '{MODEL}'")}
    if {standing.champion, standing.previous} - there - {None}:
        _log.warning("decision %d names a version that was deleted; the aliases stand as they are", standing.last)
        return replace(standing, champion=found[0], previous=found[1])
    _log.warning("the champion's alias did not follow decision %d; it is set to %s", standing.last, standing.champion)
    _follow(store, standing)
    return standing


def decide(store: Store, before: ChampionState, decision: Decision) -> bool:
    """Make a decision taken at the standing `before`; return False where another decision came first.

    Raises:
        ResourceUnavailable: MLflow cannot be reached; the aliases may then follow with the next decision.
    """
    record = _record(before, decision)
    with require_answers(store.uri):
        client = store.client
        run = client.create_run(store.experiment_id, tags=record, run_name=f"{decision.verdict} {decision.about}")
        run_id = str(run.info.run_id)
        client.log_dict(run_id, {**vars(decision), "from": before.champion, "to": decision.champion}, "decision.json")
        client.set_terminated(run_id)
        ensure_registered_model(store, DECISIONS, "Who became champion, when and why; one version is one decision.")
        client.create_model_version(DECISIONS, f"{run.info.artifact_uri}/decision.json", run_id, tags=record)
    standing, ours = before, False
    for entry in _list_counting(store):
        standing, ours = _apply(standing, entry), ours or entry.run_id == run_id
    if ours:
        with require_answers(store.uri):
            text = f"{decision.verdict} by {decision.by} at {decision.at}, decision {standing.last}"
            store.client.set_model_version_tag(MODEL, decision.about, "decision", text)
        _follow(store, standing)
    return ours


def _follow(store: Store, standing: ChampionState) -> None:
    """Set the aliases, the champion's last, until no newer decision has come in between."""
    while True:
        with require_answers(store.uri):
            for alias, number in ((PREVIOUS, standing.previous), (CHAMPION, standing.champion)):
                if number is not None:
                    store.client.set_registered_model_alias(MODEL, alias, number)
        now = _replay(store)
        if now.last == standing.last:
            return
        standing = now


def _replay(store: Store) -> ChampionState:
    standing = ChampionState(0, find_number_at(store, CHAMPION), find_number_at(store, PREVIOUS))
    for entry in _list_counting(store):
        standing = _apply(standing, entry)
    return standing


def _list_counting(store: Store) -> Iterator["ModelVersion"]:
    """Yield the decisions that count, in order."""
    entries: list[ModelVersion] = []
    token: str | None = None
    with require_answers(store.uri):
        while True:
            page = store.client.search_model_versions(f"name = '{DECISIONS}'", page_token=token)
            entries += page
            token = page.token
            if not token:
                break
    last = 0
    for entry in sorted(entries, key=lambda entry: int(entry.version)):
        if int(entry.tags["after"]) == last:
            last = int(entry.version)
            yield entry


def _apply(standing: ChampionState, entry: "ModelVersion") -> ChampionState:
    champion, previous = (None if entry.tags[key] == _NONE else entry.tags[key] for key in ("to", "previous"))
    fallen = standing.fallen
    if entry.tags["verdict"] == ROLLED_BACK:
        fallen = (fallen | {entry.tags["from"]}) - {entry.tags["to"]}
    return ChampionState(int(entry.version), champion, previous, fallen)


def _record(before: ChampionState, decision: Decision) -> dict[str, Any]:
    figures = [
        f"{name} {value:.4f} (version {number})"
        for number, values in decision.figures.items()
        for name, value in sorted(values.items())
    ]
    record = {
        "verdict": decision.verdict,
        "by": decision.by,
        "at": decision.at,
        "about": decision.about,
        "from": before.champion or _NONE,
        "to": decision.champion or _NONE,
        "previous": decision.previous or _NONE,
        "after": str(before.last),
        "figures": "; ".join(figures) or _NONE,
        "reasons": "; ".join(decision.reasons) or _NONE,
    }
    return {key: value[:_LONGEST_TAG] for key, value in record.items()}
