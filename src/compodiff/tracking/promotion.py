"""Promotion and rollback: the gate is asked, the decision is made (decision_log.py), and the aliases follow."""

import getpass
import os
import re
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from compodiff.errors import InputInvalid, PromotionRefused
from compodiff.machine import lock_file
from compodiff.tracking.decision_log import (
    PROMOTED,
    REFUSED,
    ROLLED_BACK,
    ChampionState,
    Decision,
    decide,
    settle_aliases,
)
from compodiff.tracking.figures import read_outcomes
from compodiff.tracking.gate import Gates, Model, list_objections
from compodiff.tracking.registry import (
    CHAIN_IS_BROKEN,
    CHALLENGER,
    CHAMPION,
    FINETUNED,
    MODEL,
    REGISTER,
    RegisteredVersion,
    find_number_at,
    find_version,
    find_version_at,
)
from compodiff.tracking.runs import deliver_kept
from compodiff.tracking.store import Store, open_store, require_answers
from compodiff.tracking.version_files import explain_missing_files, find_numbered

# Returns what stands against a challenger besides its figures, given it and the champion, if there is one.
Examine = Callable[[RegisteredVersion, RegisteredVersion | None], list[str]]
_MEND_CHAIN = (
    "dvc repro makes it anew, dvc commit accepts what was made by hand; then: dvc repro --single-item --force register"
)
_JUDGED = re.compile(r"[^/]+/composed/(recall|map)_at_\d+")  # figures that the record of a decision keeps


@dataclass(frozen=True)
class ChampionChange:
    """What a promotion or a rollback came to: the champion before (None: there was none) and after."""

    before: str | None
    after: str

    @property
    def made(self) -> bool:
        """Whether the champion is another one now."""
        return self.before != self.after


def promote(
    project: Path,
    gates: Gates,
    *,
    min_relation_queries: int,
    finetuned_gates: Gates | None = None,
    number: str | None = None,
    examine: Examine | None = None,
) -> ChampionChange:
    """Make the challenger champion if it passes the gate; a challenger that is champion already stays it.

    Args:
        project: the folder that holds params.yaml.
        gates: what the challenger must show, by the benchmark's name.
        min_relation_queries: relations with fewer queries say too little to object by.
        finetuned_gates: what a fine-tuned challenger must show; None: the same.
        number: of the version that is judged; None: whichever is challenger. A pipeline names its own, as another one
            may register in between, and be judged by the params of its own commit.
        examine: a second gate; None: there is none.

    Raises:
        InputInvalid: no version is challenger, or the figures of one that is compared are gone.
        PromotionRefused: with every reason; the champion is as it was.
        ResourceUnavailable: MLflow cannot be reached.
    """
    store = open_store(project)
    deliver_kept(store, project, only_ended=True)
    with _lock_decisions(project):
        while True:
            standing = settle_aliases(store)
            challenger = find_version(store, number) if number else find_version_at(store, CHALLENGER)
            if challenger is None:
                raise InputInvalid(f"no version of {MODEL} is challenger; run: {REGISTER}")
            if standing.champion == challenger.number:
                return ChampionChange(standing.champion, standing.champion)
            champion = find_version(store, standing.champion) if standing.champion else None
            asked = gates if finetuned_gates is None or challenger.made_by != FINETUNED else finetuned_gates
            new = _read_model(store, challenger, asked)
            old = _read_model(store, champion, asked) if champion else None
            reasons = list_objections(new, old, asked, min_relation_queries=min_relation_queries)
            if challenger.broken:
                reasons.append(f"{CHAIN_IS_BROKEN} ({challenger.broken}); {_MEND_CHAIN}")
            if challenger.number in standing.fallen:
                reasons.append("it was rolled back from or withdrawn; register another")
            elif missing := explain_missing_files(project, challenger.number):
                reasons.append(missing)
            elif examine:
                reasons += examine(challenger, champion)
            if decide(store, project, standing, _make_verdict(standing, challenger, champion, reasons)):
                break
        if reasons:
            raise PromotionRefused(f"version {challenger.number} of {MODEL} is not promoted: {'; '.join(reasons)}")
        return ChampionChange(standing.champion, challenger.number)


def roll_back(project: Path, reason: str = "", *, instead_of: str | None = None) -> ChampionChange:
    """Make the previous champion champion again; the one it replaces becomes the previous, and stays off.

    A champion whose version was deleted is replaced as well.

    Of two rollbacks at once one is made; the other finds its champion replaced already and changes nothing. So does one
    that is tried again, given the champion to go back from, `instead_of`. `reason` is for the record.

    Raises:
        InputInvalid: there is no previous champion, its files are gone, or there is no version `instead_of`.
        ResourceUnavailable: MLflow cannot be reached.
    """
    store = open_store(project)
    deliver_kept(store, project, only_ended=True)
    seen = instead_of or find_number_at(store, CHAMPION)
    with _lock_decisions(project):
        while True:
            standing = settle_aliases(store)
            if standing.champion and standing.champion != seen:
                if instead_of and find_numbered(store, instead_of) is None:
                    raise InputInvalid(f"there is no version {instead_of} of {MODEL}; {standing.champion} is champion")
                return ChampionChange(standing.champion, standing.champion)
            previous = standing.previous
            if previous is None:
                raise InputInvalid(f"{MODEL} has no previous champion to go back to; see: make ui")
            if missing := explain_missing_files(project, previous):
                raise InputInvalid(missing)
            why = (reason,) if reason else ()
            figures = {previous: _select_judged(find_version(store, previous))}
            champions = (previous, standing.champion)
            decision = _sign(ROLLED_BACK, standing.champion or previous, champions, why, figures)
            if decide(store, project, standing, decision):
                return ChampionChange(standing.champion, previous)


def note_trial(project: Path, number: str, verdict: str, reason: str, figures: Mapping[str, float]) -> None:
    """Record what came of version `number` beside the champion, who stays it.

    Args:
        project: the folder that holds params.yaml.
        number: of the version.
        verdict: SHADOWED or WITHDRAWN; what was withdrawn is not promoted.
        reason: in words.
        figures: name -> value.

    Raises:
        ResourceUnavailable: MLflow cannot be reached, or has no such version.
    """
    store = open_store(project)
    with require_answers(store.uri):
        store.client.get_model_version(MODEL, number)
    with _lock_decisions(project):
        while True:
            standing = settle_aliases(store)
            champions = (standing.champion, standing.previous)
            noted = _sign(verdict, number, champions, (reason,), {number: dict(figures)})
            if decide(store, project, standing, noted):
                return


def _read_model(store: Store, version: RegisteredVersion, gates: Gates) -> Model:
    return Model(version.figures, read_outcomes(store, version, gates))


def _make_verdict(
    standing: ChampionState, challenger: RegisteredVersion, champion: RegisteredVersion | None, reasons: list[str]
) -> Decision:
    figures = {each.number: _select_judged(each) for each in (challenger, champion) if each}
    about = challenger.number
    before = standing.champion or standing.previous  # the one before a champion that was deleted
    champions = (standing.champion, standing.previous) if reasons else (about, None if before == about else before)
    return _sign(REFUSED if reasons else PROMOTED, about, champions, tuple(reasons), figures)


def _select_judged(version: RegisteredVersion) -> dict[str, float]:
    return {name: value for name, value in version.figures.items() if _JUDGED.fullmatch(name)}


def _sign(
    verdict: str,
    about: str,
    champions: tuple[str | None, str | None],
    reasons: tuple[str, ...],
    figures: dict[str, dict[str, float]],
) -> Decision:
    """Make a decision of whoever runs this, now; `champions` are the one from now on and the one before."""
    person, now = f"{_name_user()}@{socket.gethostname()}", datetime.now(UTC).isoformat(timespec="seconds")
    return Decision(verdict, person, now, about, *champions, reasons, figures)


def _name_user() -> str:
    """Return who runs this; the number of a user without a name, as a container's may be."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # KeyError before Python 3.13
        return str(os.getuid())


@contextmanager
def _lock_decisions(project: Path) -> Iterator[None]:
    """Let others of this checkout wait instead of taking a decision that would be void."""
    lock = project / "mlruns" / "promotion.lock"
    lock.parent.mkdir(exist_ok=True)
    with lock.open("w") as file:
        lock_file(file, wait=True)
        yield
