"""Clean a dataset of triplets into a copy: no near-duplicates, nothing of a benchmark, nothing unsafe or unreadable.

The dataset itself is left as it is. The copy's manifest has every row, those left out with why, and findings.parquet
says which picture met which. A run that was killed continues; other thresholds survey no picture again.

Shapes: T triplets, D embedding width.
"""

import glob
import hashlib
import json
import logging
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
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
from compodiff.storage import shards
from compodiff.storage.atomic import write_json
from compodiff.storage.ownership import delete_inside, require_apart
from compodiff.triplets.manifest import Acceptance

NEAR_DUPLICATE, CONTAMINATED = "near_duplicate", "contaminated"
FINDINGS = "findings.parquet"
_AT_ONCE = 1024
_TYPES = {"key": "str", "rejected_by": "str", "picture": "str", "match": "str", "cosine": "float32"}
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class CleaningRules:
    """What is left out.

    Attributes:
        near_duplicate: cosine from which pictures that look alike are near-duplicates. A triplet is one of another if
            both of its pictures are, and it asks for the same.
        any_caption: near-duplicates need not ask for the same; compares every triplet with every other.
        contaminated: cosine from which a picture is one of a benchmark's.
    """

    near_duplicate: float
    any_caption: bool
    contaminated: float


def clean(
    dataset: Path, to: Path, surveyor: Surveyor, gallery: BenchmarkGallery, rules: CleaningRules
) -> dict[str, Any]:
    """Write the clean copy of a dataset.

    Args:
        dataset: folder of shards with their sidecars.
        to: folder of the copy; what another dataset or encoder left there is deleted.
        surveyor: whose facts lie in `to`.
        gallery: pictures that may not be in the copy; may be empty.
        rules: what is left out.

    Returns:
        The copy's report.

    Raises:
        InputInvalid: no shard, one that is damaged or unfinished, or nothing would be left.
        ResourceUnavailable: the disk is full or a worker was killed; what is done is kept.
    """
    require_apart(to, dataset)
    paths = sorted(dataset.glob("*.tar"))
    if not paths:
        raise InputInvalid(f"{dataset} holds no shard (*.tar); run: compodiff run synthesize")
    _claim(to, dataset, paths, surveyor)
    _run(surveyor, [path for path in paths if not surveyor.is_done(path)], "looking at pictures")
    rows = _read_rows(dataset, paths)
    findings = find(Survey.open(surveyor.facts, paths), rows, gallery, rules)
    reasons = {str(key): ",".join(names.unique()) for key, names in findings.groupby("key")["rejected_by"]}
    if len(reasons) >= rows["accepted"].sum():
        counted = findings.drop_duplicates(["key", "rejected_by"])["rejected_by"].value_counts().to_dict()
        raise InputInvalid(
            f"nothing would be left of {dataset} ({counted}); compare with fewer pictures or raise a cosine"
        )
    _forget_copies_of_other(findings, to)
    copier = _Copier(to, reasons)
    _run(copier, [path for path in paths if not shards.is_done(to / path.name)], "copying")
    return _finish(to, [to / path.name for path in paths], findings, rules)


def _claim(to: Path, dataset: Path, paths: Sequence[Path], surveyor: Surveyor) -> None:
    """Make `to` ready for the copy of these shards; a copy that depends on something else is deleted."""
    encoder = hashlib.sha256((surveyor.encoder / "manifest.json").read_bytes()).hexdigest()
    seals = {path.name: shards.read_seal(path)["sha256"] for path in paths}
    identity = {"cleaned": str(dataset), "shards": seals, "encoder": encoder, "look": LOOK_SHAPE[0]}
    identity["safety_checker"] = surveyor.safety_checker
    of_shards = (f"{glob.escape(path.stem)}.*" for path in paths)
    stale = ("facts/*.json", "facts/*.npy", FINDINGS, "manifest.parquet", "report.json", *of_shards)
    shards.claim_folder(to, identity, "cleaned triplets", stale)


def _read_rows(dataset: Path, paths: Sequence[Path]) -> pd.DataFrame:
    """Return the rows of all shards.

    Raises:
        InputInvalid: there is none, or a key stands there twice.
    """
    rows = pd.concat([shards.read_table(shards.name_sidecar(path)) for path in paths], ignore_index=True)
    if rows.empty:
        raise InputInvalid(f"{dataset} holds no triplet; make or import it again")
    if not rows["key"].is_unique:
        raise InputInvalid(f"{dataset} has the key {rows['key'][rows['key'].duplicated()].iat[0]!r} twice; rename one")
    return rows


def find(survey: Survey, rows: pd.DataFrame, gallery: BenchmarkGallery, rules: CleaningRules) -> pd.DataFrame:
    """Find what is to be left out and why: columns key, rejected_by, picture (reference or target), match, cosine."""
    lost = [
        (key, why, end, "", np.nan)
        for key, pair in survey.lost.items()
        for end, why in zip(ENDS, pair, strict=True)
        if why
    ]
    found = [*lost, *_find_contaminated(survey, gallery, rules.contaminated)]
    gone = {key for key, *_ in found}
    captions = rows.set_index("key")["relative_caption"].reindex(survey.keys)
    asks = captions.str.casefold().str.split().str.join(" ") if not rules.any_caption else captions.map(lambda _: "")
    # Smallest key first, within what is compared with each other; a key is ever compared by what it asks for.
    order = pd.DataFrame({"asks": asks.to_numpy(), "key": survey.keys}).sort_values(["asks", "key"])
    order = order[~order["key"].isin(gone)]
    with tqdm(total=len(order), desc="comparing", unit=" triplets", disable=None) as bar:
        for _, group in order.groupby("asks", sort=False):
            found += _find_near_duplicates(survey, group.index.to_numpy(), rules.near_duplicate)
            bar.update(len(group))
    return pd.DataFrame(found, columns=list(_TYPES)).astype({"cosine": "float32"})


Finding = tuple[str, str, str, str, float]


def _find_contaminated(survey: Survey, gallery: BenchmarkGallery, least: float) -> Iterator[Finding]:
    """Yield pictures that a benchmark has, each with the one it is nearest to."""
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
            key, end = survey.keys[first + place // 2], ENDS[place % 2]
            yield key, CONTAMINATED, end, gallery.names[match[place]], float(nearest[place])
        first += len(shard)


def _find_near_duplicates(survey: Survey, rows: NDArray[np.int64], least: float) -> Iterator[Finding]:
    """Find those of `rows`, in their order, that are near-duplicates of one that is kept."""
    kept = np.empty(0, np.int64)
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
            yield survey.keys[chunk[place]], NEAR_DUPLICATE, "both", survey.keys[other], cosine
        kept = np.concatenate([kept, np.delete(chunk, list(twin_of))])


Facts = tuple[NDArray[np.float32], Looks]  # embeddings (T, 2, D), looks (T, 2, L)


def _find_near(ones: Facts, others: Facts, least: float) -> Iterator[tuple[int, int, float]]:
    """Yield places of two triplets whose references are near-duplicates and whose targets are, too; ascending.

    Near embeddings are a hint only: two clock faces have near ones, but do not look the same.
    """
    cosines = np.minimum(*(ones[0][:, end] @ others[0][:, end].T for end in range(len(ENDS))))
    pairs = np.argwhere(cosines >= least)
    for end in range(len(ENDS)):
        pairs = pairs[look_the_same(ones[1][:, end], others[1][:, end], pairs)]
    for one, other in pairs.tolist():
        yield one, other, float(cosines[one, other])


@dataclass(frozen=True)
class _Copier:
    """Copies a shard without the triplets that have a reason to be left out."""

    to: Path
    reasons: dict[str, str]

    def __call__(self, path: Path) -> None:
        with shards.open_shard_writer(self.to / path.name) as copy:
            for key, files in shards.read_entries(path):
                if key not in self.reasons:
                    copy.add(key, files)
            rows = shards.read_table(shards.name_sidecar(path))
            out = rows["key"].isin(self.reasons)
            rows.loc[out, "rejected_by"] = rows.loc[out, "key"].map(self.reasons)
            rows.loc[out, "accepted"] = False
            copy.record(rows)


def _forget_copies_of_other(findings: pd.DataFrame, to: Path) -> None:
    """Delete shards that were copied by other findings."""
    path = to / FINDINGS
    if path.exists() and not shards.read_table(path).equals(findings):
        log.info("%s was made by other rules or benchmarks: copying afresh", to)
        for stale in (*to.glob("*.tar"), *to.glob("*.parquet")):
            delete_inside(stale)
    shards.write_table(path, findings)


def _finish(to: Path, paths: Sequence[Path], findings: pd.DataFrame, rules: CleaningRules) -> dict[str, Any]:
    acceptance = Acceptance()
    with shards.open_merged_table(to / "manifest.parquet") as manifest:
        for path in paths:
            acceptance.add(manifest.add(path))
    left_out = findings.drop_duplicates(["key", "rejected_by"])["rejected_by"].value_counts()
    report = acceptance.make_report() | {
        "shards": {path.name: shards.read_seal(path) for path in paths},
        "left_out": {str(name): int(count) for name, count in left_out.sort_index().items()},
        "rules": asdict(rules),
    }
    write_json(to / "report.json", report)
    written: dict[str, Any] = json.loads((to / "report.json").read_text(encoding="utf-8"))
    return written


def _run(function: Any, paths: Sequence[Path], what: str) -> None:
    for _ in tqdm(map_shards(function, paths, workers=count_workers()), what, len(paths), unit=" shards", disable=None):
        pass
