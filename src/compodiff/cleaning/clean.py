"""Clean a set into another one: no near-duplicates, nothing of a benchmark, nothing unsafe or unreadable.

The set itself is left as it is; the clean one has its rows but for those left out, and refers to the same pictures
where they lie. findings.parquet says which row was left out, why, and which picture met which. A run that was killed
continues; other thresholds survey no picture again.

Shapes: T rows, E pictures of a row, D embedding width.
"""

import hashlib
import logging
import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from tqdm import tqdm

from compodiff.cleaning.gallery import BenchmarkGallery
from compodiff.cleaning.survey import ENDS, Survey, Surveyor
from compodiff.errors import InputInvalid
from compodiff.execution import count_workers, map_shards
from compodiff.images.looks import LOOK_SHAPE, Looks, look_the_same
from compodiff.sets import PATTERNS, SPLITS, Place, SetDescription, Shard, TrainingSet, finish_set, open_set, open_shard
from compodiff.sets.addresses import is_address, join_address
from compodiff.sets.form import DESCRIPTION
from compodiff.sets.writing import is_shard_done, shard_path
from compodiff.storage import claims, tables
from compodiff.storage.atomic import write_json
from compodiff.storage.ownership import delete_inside, require_apart

NEAR_DUPLICATE, CONTAMINATED = "near_duplicate", "contaminated"
FINDINGS = "findings.parquet"
KIND = "cleaned set"
_AT_ONCE = 1024
_TYPES = {"key": "str", "rejected_by": "str", "picture": "str", "match": "str", "cosine": "float32"}
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class CleaningRules:
    """What is left out.

    Attributes:
        near_duplicate: cosine from which pictures that look alike are near-duplicates. A row is one of another if all
            of its pictures are, and it asks for the same.
        any_caption: near-duplicates need not ask for the same; compares every row with every other.
        contaminated: cosine from which a picture is one of a benchmark's.
    """

    near_duplicate: float
    any_caption: bool
    contaminated: float


def clean(to: Path, surveyor: Surveyor, gallery: BenchmarkGallery, rules: CleaningRules) -> dict[str, Any]:
    """Write the clean set.

    Args:
        to: its folder; what another set or encoder left there is deleted.
        surveyor: of the set that is cleaned; its facts lie in `to`.
        gallery: pictures that may not be in the clean set; may be empty.
        rules: what is left out.

    Returns:
        The clean set's report.

    Raises:
        InputInvalid: there is no set, a shard of it is damaged, or nothing would be left.
        ResourceUnavailable: the disk is full or a worker was killed; what is done is kept.
    """
    dirty = open_set(surveyor.address)
    dirty.description.require_pictures("cleaning")
    listed = dirty.description.shards
    if not is_address(surveyor.address):
        require_apart(to, Path(surveyor.address))
    _claim(to, dirty.description, surveyor)
    _run(surveyor, [shard for shard in listed if not surveyor.is_done(shard)], "looking at pictures")
    survey = Survey.open(surveyor, dirty.description.kind, listed)
    findings = find(survey, gallery, rules)
    reasons = frozenset(findings["key"])
    if len(reasons) >= len(survey.keys):
        raise InputInvalid(
            f"nothing would be left of {surveyor.address} ({_count(findings)}); "
            "compare with fewer pictures or raise a cosine"
        )
    _forget_shards_of_other(findings, to)
    referrer = _Referrer(surveyor.address, to, reasons)
    tasks = [_Task(shard, number) for split in SPLITS for number, shard in enumerate(_select_split(listed, split))]
    _run(referrer, [task for task in tasks if not is_shard_done(task.path(to))], "referring to pictures")
    return _finish(to, dirty.description, findings, rules)


def _claim(to: Path, dirty: SetDescription, surveyor: Surveyor) -> None:
    """Make `to` ready for the clean set; one that depends on something else is deleted."""
    encoder = hashlib.sha256((surveyor.encoder / "manifest.json").read_bytes()).hexdigest()
    decides = {
        "cleaned": surveyor.address,
        "digest": dirty.digest,
        "encoder": encoder,
        "look": LOOK_SHAPE[0],
        "safety_checker": surveyor.safety_checker,
    }
    claims.claim_folder(to, decides, KIND, ("facts/*.json", "facts/*.npy", FINDINGS, "report.json", *PATTERNS))


def find(survey: Survey, gallery: BenchmarkGallery, rules: CleaningRules) -> pd.DataFrame:
    """What is to be left out and why: columns key, rejected_by, picture (a column of the rows), match, cosine.

    Args:
        survey: of the set.
        gallery: a benchmark's pictures.
        rules: what is left out.

    Raises:
        InputInvalid: a key stands there twice.
    """
    if not (keys := pd.Index(survey.keys)).is_unique:
        raise InputInvalid(f"the set has the key {keys[keys.duplicated()][0]!r} twice; rename one")
    lost = [
        (key, why, end, "", np.nan)
        for key, of_row in survey.lost.items()
        for end, why in zip(survey.ends, of_row, strict=True)
        if why
    ]
    found = [*lost, *_find_contaminated(survey, gallery, rules.contaminated)]
    gone = {key for key, *_ in found}
    # Smallest key first, within what is compared with each other; a key is ever compared by what it asks for.
    order = pd.DataFrame({"asks": "" if rules.any_caption else survey.asks, "key": survey.keys})
    order = order.sort_values(["asks", "key"])
    order = order[~order["key"].isin(gone)]
    with tqdm(total=len(order), desc="comparing", unit=" rows", disable=None) as bar:
        for _, group in order.groupby("asks", sort=False):
            found += _find_near_duplicates(survey, group.index.to_numpy(), rules.near_duplicate)
            bar.update(len(group))
    return pd.DataFrame(found, columns=list(_TYPES)).astype({"cosine": "float32"})


Finding = tuple[str, str, str, str, float]


def _find_contaminated(survey: Survey, gallery: BenchmarkGallery, least: float) -> Iterator[Finding]:
    """Pictures that a benchmark has, each with the one it is nearest to."""
    first = 0
    for shard in survey.read_by_shard():
        unit = shard.astype(np.float32).reshape(-1, shard.shape[-1])
        nearest, match = np.full(len(unit), -np.inf, np.float32), np.zeros(len(unit), np.int64)
        for start in range(0, len(gallery.names), _AT_ONCE):
            cosines = unit @ gallery.embeddings[start : start + _AT_ONCE].astype(np.float32).T
            here, value = cosines.argmax(axis=1), cosines.max(axis=1)
            nearer = value > nearest
            nearest[nearer], match[nearer] = value[nearer], start + here[nearer]
        for place in np.flatnonzero(nearest >= least):
            row, end = divmod(int(place), len(survey.ends))
            key, name = survey.keys[first + row], gallery.names[match[place]]
            yield key, CONTAMINATED, survey.ends[end], name, float(nearest[place])
        first += len(shard)


def _find_near_duplicates(survey: Survey, rows: NDArray[np.int64], least: float) -> Iterator[Finding]:
    """Of `rows`, in their order, those that are near-duplicates of one that is kept."""
    kept = np.empty(0, np.int64)
    alike = "both" if len(survey.ends) > 1 else survey.ends[0]
    for start in range(0, len(rows) if len(rows) > 1 else 0, _AT_ONCE):
        chunk = rows[start : start + _AT_ONCE]
        this = survey.read_embeddings(chunk), survey.read_looks(chunk)
        twin_of = dict[int, tuple[int, float]]()  # place in the chunk -> row and cosine
        for first in range(0, len(kept), _AT_ONCE):
            others = kept[first : first + _AT_ONCE]
            for place, other, cosine in _find_near(
                this, (survey.read_embeddings(others), survey.read_looks(others)), least
            ):
                twin_of.setdefault(place, (int(others[other]), cosine))
        for place, other, cosine in _find_near(this, this, least):
            if other < place and place not in twin_of and other not in twin_of:
                twin_of[place] = int(chunk[other]), cosine
        for place, (other, cosine) in sorted(twin_of.items()):
            yield survey.keys[chunk[place]], NEAR_DUPLICATE, alike, survey.keys[other], cosine
        kept = np.concatenate([kept, np.delete(chunk, list(twin_of))])


Facts = tuple[NDArray[np.float32], Looks]  # embeddings (T, E, D), looks (T, E, L)


def _find_near(ones: Facts, others: Facts, least: float) -> Iterator[tuple[int, int, float]]:
    """Places of two rows of which each picture is a near-duplicate of the other's; ascending.

    Near embeddings are a hint only: two clock faces have near ones, but do not look the same.
    """
    ends = range(ones[0].shape[1])
    cosines = np.min([ones[0][:, end] @ others[0][:, end].T for end in ends], axis=0)
    pairs = np.argwhere(cosines >= least)
    for end in ends:
        pairs = pairs[look_the_same(ones[1][:, end], others[1][:, end], pairs)]
    for one, other in pairs.tolist():
        yield one, other, float(cosines[one, other])


@dataclass(frozen=True)
class _Task:
    """A shard of the set, and the number of the one that it becomes."""

    shard: Shard
    number: int

    def path(self, folder: Path) -> Path:
        """Return where the rows of the new shard stand."""
        return shard_path(folder, self.shard.split, self.number)


@dataclass(frozen=True)
class _Referrer:
    """Writes the rows of a shard that have no reason to be left out, with places seen from the new folder."""

    address: str
    to: Path
    left_out: frozenset[str]

    def __call__(self, task: _Task) -> None:
        kind = self._set.description.kind
        with open_shard(self.to, task.shard.split, task.number, kind) as shard:
            for row in self._set.read_rows(task.shard).to_pylist():
                if row["key"] in self.left_out:
                    continue
                moved: dict[str, Any] = {end: self._see(row[end]) for end in ENDS[kind]}
                if row.get("negatives"):
                    moved["negatives"] = [self._see(place) for place in row["negatives"]]
                shard.add(row | moved)

    @cached_property
    def _set(self) -> TrainingSet:
        return open_set(self.address)

    def _see(self, place: dict[str, Any]) -> Place:
        """Return the same place as the new set names it: a relative path counts from the new folder."""
        it = Place.of(place)
        if is_address(it.file) or os.path.isabs(it.file):
            return it
        where = join_address(self._set.address, it.file)
        return replace(it, file=where if is_address(where) else os.path.relpath(where, self.to))


def _select_split(listed: Sequence[Shard], split: str) -> list[Shard]:
    return [shard for shard in listed if shard.split == split]


def _forget_shards_of_other(findings: pd.DataFrame, to: Path) -> None:
    """Delete shards that were written by other findings."""
    path = to / FINDINGS
    if path.exists() and not tables.read_table(path).equals(findings):
        log.info("%s was made by other rules or benchmarks: writing its rows afresh", to)
        for stale in (to / DESCRIPTION, *(it for name in PATTERNS for it in to.glob(name)), path):
            delete_inside(stale)
    tables.write_table(path, findings)


def _finish(to: Path, dirty: SetDescription, findings: pd.DataFrame, rules: CleaningRules) -> dict[str, Any]:
    source = f"{dirty.source}; cleaned"
    written = finish_set(to, dirty.kind, licence=dirty.licence, source=source, notes=_count(findings))
    report = {
        "candidates": sum(dirty.rows.values()),
        "accepted": sum(written.rows.values()),
        "accepted_by_split": written.rows,
        "left_out": _count(findings),
        "rules": asdict(rules),
        "shards": {shard.file: shard.sha256 for shard in written.shards},
    }
    write_json(to / "report.json", report)
    return report


def _count(findings: pd.DataFrame) -> dict[str, int]:
    """Return for each reason how many rows have it."""
    counts = findings.drop_duplicates(["key", "rejected_by"])["rejected_by"].value_counts().sort_index()
    return {str(name): int(count) for name, count in counts.items()}


def _run(function: Any, items: Sequence[Any], what: str) -> None:
    for _ in tqdm(map_shards(function, items, workers=count_workers()), what, len(items), unit=" shards", disable=None):
        pass
