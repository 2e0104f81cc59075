"""Every promotion, refusal, trial and rollback in one order: the truth about who is champion; the aliases are its copy.

A decision is one version of the registered model `compodiff-decisions`: its tags are the record, its run holds the
same as an artifact. MLflow numbers versions within a transaction, so all machines of a server see one order. A decision
names the one that it was taken after: of two taken after the same one the first counts, the other is void and its
author looks again. No lock has to be held, and none can be left behind.

A decision is made by that one write. Who is killed before it has decided nothing; who is killed after it, while the
aliases still follow, leaves the champion before or the champion after, and the next decision first sets them right.
"""

import logging
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compodiff.tracking.registry import CHAMPION, LONGEST_TAG, MODEL, PREVIOUS, ensure_registered_model, find_number_at
from compodiff.tracking.runs import record_at_once
from compodiff.tracking.store import Store, require_answers

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion

DECISIONS = "compodiff-decisions"
PROMOTED, REFUSED, ROLLED_BACK = "promoted", "refused", "rolled back"
SHADOWED, WITHDRAWN = "shadowed", "withdrawn"  # what came of a trial beside the champion, who stays it

_NONE = "none"  # MLflow keeps no empty tags
_ABOUT = "decision"  # tag of a version: the last decision about it
_NUMBERED = re.compile(r", decision (\d+)$")
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ChampionState:
    """Who is champion after the decisions so far.

    Attributes:
        last: number of the last decision that counts; 0 before the first.
        champion: version number, or None.
        previous: version number of the champion before, or None.
        fallen: versions that were rolled back from, or withdrawn as a canary; they are not promoted again.
    """

    last: int
    champion: str | None
    previous: str | None
    fallen: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Decision:
    """What is decided, by whom and why.

    Attributes:
        verdict: promoted, refused, rolled back, shadowed or withdrawn.
        by: who decided.
        at: when, in ISO 8601.
        about: the version that it is about.
        champion: version number of the champion from now on, or None.
        previous: version number of the one before, or None.
        reasons: of a refusal all objections, of a rollback what was given as its reason, of a trial what came of it.
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

    A version that was deleted is neither champion nor previous.

    Raises:
        ResourceUnavailable: MLflow cannot be reached.
    """
    standing = _replay(store)
    found = (find_number_at(store, CHAMPION), find_number_at(store, PREVIOUS))
    if found != (standing.champion, standing.previous):
        champion = standing.champion or "none"
        _log.warning("the champion's alias did not follow decision %d; it is set to %s", standing.last, champion)
        _follow(store, standing)
    return standing


def decide(store: Store, project: Path, before: ChampionState, decision: Decision) -> bool:
    """Make a decision of `project` taken at the standing `before`; return False where another decision came first.

    Raises:
        ResourceUnavailable: MLflow cannot be reached; the aliases may then follow with the next decision.
    """
    record = _record(before, decision)
    with require_answers(store.uri):
        client = store.client
        with record_at_once(store, project, f"{decision.verdict} {decision.about}", record) as run_id:
            content = {**vars(decision), "from": before.champion, "to": decision.champion}
            client.log_dict(run_id, content, "decision.json")
        ensure_registered_model(store, DECISIONS, "Who became champion, when and why; one version is one decision.")
        place = f"{client.get_run(run_id).info.artifact_uri}/decision.json"
        client.create_model_version(DECISIONS, place, run_id, tags=record)
    standing, ours = before, False
    for entry in _list_counting(store):
        standing, ours = _apply(standing, entry), ours or entry.run_id == run_id
    if ours:
        with require_answers(store.uri):
            text = f"{decision.verdict} by {decision.by} at {decision.at}, decision {standing.last}"
            store.client.set_model_version_tag(MODEL, decision.about, _ABOUT, text)
        _follow(store, standing)
    return ours


def _follow(store: Store, standing: ChampionState) -> None:
    """Set the aliases, the champion's last, until no newer decision has come in between."""
    while True:
        for alias, number in ((PREVIOUS, standing.previous), (CHAMPION, standing.champion)):
            is_set = find_number_at(store, alias) is not None
            with require_answers(store.uri):
                if number is not None:
                    store.client.set_registered_model_alias(MODEL, alias, number)
                elif is_set:
                    store.client.delete_registered_model_alias(MODEL, alias)
        now = _replay(store)
        if now.last == standing.last:
            return
        standing = now


def _replay(store: Store) -> ChampionState:
    """Return who is champion by the decisions; by the aliases where no decision says it, or its version is deleted."""
    found = (find_number_at(store, CHAMPION), find_number_at(store, PREVIOUS))
    newest = max((_read_decision(tags) for tags in _list_versions(store).values()), default=0)  # before the log is read
    standing = ChampionState(0, *found)
    for entry in _list_counting(store):
        standing = _apply(standing, entry)
    if newest > standing.last:
        _log.warning("decision %d is gone from %s; the aliases stand as they are", newest, DECISIONS)
        return replace(standing, champion=found[0], previous=found[1])
    there = _list_versions(store)
    champion = standing.champion if standing.champion in there else found[0]
    previous = standing.previous if standing.previous in there else found[1]
    return replace(standing, champion=champion, previous=None if previous == champion else previous)


def _list_versions(store: Store) -> dict[str, Mapping[str, str]]:
    """Return the tags of each version of the model."""
    with require_answers(store.uri):
        return {str(each.version): each.tags for each in store.client.search_model_versions(f"name = '{MODEL}'")}


def _list_counting(store: Store) -> Iterator["ModelVersion"]:
    """Yield the decisions that count, in order; one that follows on a decision that was deleted counts."""
    entries: list[ModelVersion] = []
    token: str | None = None
    with require_answers(store.uri):
        while True:
            page = store.client.search_model_versions(f"name = '{DECISIONS}'", page_token=token)
            entries += page
            token = page.token
            if not token:
                break
    there = {int(entry.version) for entry in entries}
    last = 0
    for entry in sorted(entries, key=lambda entry: int(entry.version)):
        after = int(entry.tags["after"])
        if after == last or (after > last and after not in there):
            last = int(entry.version)
            yield entry


def _read_decision(tags: Mapping[str, str]) -> int:
    """Return the number of the last decision about a version, 0 where there is none."""
    found = _NUMBERED.search(tags.get(_ABOUT, ""))
    return int(found[1]) if found else 0


def _apply(standing: ChampionState, entry: "ModelVersion") -> ChampionState:
    champion, previous = (None if entry.tags[key] == _NONE else entry.tags[key] for key in ("to", "previous"))
    fallen = standing.fallen
    if entry.tags["verdict"] == ROLLED_BACK:
        fallen = (fallen | {entry.tags["from"]}) - {entry.tags["to"], _NONE}
    if entry.tags["verdict"] == WITHDRAWN:
        fallen |= {entry.tags["about"]}
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
    return {key: value[:LONGEST_TAG] for key, value in record.items()}
