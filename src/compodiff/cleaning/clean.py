"""Clean a set into another one: no near-duplicates, nothing of a benchmark, nothing unsafe or unreadable.

The set itself is left as it is; the clean one has its rows but for those left out, and refers to the same pictures
where they lie. findings.parquet says which row was left out, why, and which picture met which. A run that was killed
continues; other thresholds survey no picture again.
"""

import hashlib
import logging
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from compodiff.cleaning.findings import CleaningRules, find
from compodiff.cleaning.gallery import BenchmarkGallery
from compodiff.cleaning.referring import ShardTask, list_tasks, refer, run
from compodiff.cleaning.survey import Survey, Surveyor
from compodiff.errors import InputInvalid
from compodiff.images.looks import LOOK_SHAPE
from compodiff.sets import PATTERNS, SetDescription, TrainingSet, finish_set, open_set, open_shard
from compodiff.sets.addresses import is_address
from compodiff.sets.form import DESCRIPTION
from compodiff.storage import claims
from compodiff.storage.arrays import open_array
from compodiff.storage.atomic import replace_path, write_json
from compodiff.storage.digests import digest_file
from compodiff.storage.ownership import delete_inside, require_apart
from compodiff.storage.scratch import open_scratch

FINDINGS, LEFT_OUT = "findings.parquet", "left_out.npy"
KIND = "cleaned set"
NEAR, BATCH_SIZE = 0.9, 32
_FACTS = 2  # of the form of what is known of pictures
log = logging.getLogger(__name__)


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
    run(surveyor, [shard for shard in listed if not surveyor.is_done(shard)], "looking at pictures")
    counts = _find_anew(Survey.open(surveyor, dirty.description.kind, listed), gallery, rules, to)
    referrer = _Referrer(surveyor.address, to, surveyor.facts / LEFT_OUT)
    run(referrer, list_tasks(listed, to), "referring to pictures")
    return _finish(to, dirty.description, counts, rules)


def clean_within(to: Path, dataset: Path, encoder: Path) -> dict[str, Any]:
    """Clean a set of near-duplicates and unreadable pictures alone, by the default's cosine."""
    surveyor = Surveyor(str(dataset), to / "facts", encoder, None, BATCH_SIZE)
    nothing = BenchmarkGallery((), np.empty((0, 0), np.float16))
    return clean(to, surveyor, nothing, CleaningRules(NEAR, any_caption=False, contaminated=1.0))


def _claim(to: Path, dirty: SetDescription, surveyor: Surveyor) -> None:
    """Make `to` ready for the clean set; one that depends on something else is deleted."""
    encoder = hashlib.sha256((surveyor.encoder / "manifest.json").read_bytes()).hexdigest()
    decides = {
        "cleaned": surveyor.address,
        "digest": dirty.digest,
        "encoder": encoder,
        "look": LOOK_SHAPE[0],
        "facts": _FACTS,
        "safety_checker": surveyor.safety_checker,
    }
    claims.claim_folder(to, decides, KIND, ("facts/*.parquet", "facts/*.npy", FINDINGS, "report.json", *PATTERNS))


@dataclass(frozen=True)
class _Referrer:
    """Writes the rows of a shard that are not left out, with places seen from the new folder."""

    address: str
    to: Path
    left_out: Path

    def __call__(self, task: ShardTask) -> None:
        kind = self._set.description.kind
        left_out = open_array(self.left_out)[task.first :]
        with open_shard(self.to, task.shard.split, task.number, kind) as shard:
            for row, is_gone in zip(self._set.read_rows(task.shard).to_pylist(), left_out, strict=False):
                if not is_gone:
                    shard.add(row | refer(row, self._set, self.to))

    @cached_property
    def _set(self) -> TrainingSet:
        return open_set(self.address)


def _find_anew(survey: Survey, gallery: BenchmarkGallery, rules: CleaningRules, to: Path) -> dict[str, int]:
    """Write which rows are left out, and why; delete shards that were written by other findings.

    Raises:
        InputInvalid: nothing would be left.
    """
    path = to / FINDINGS
    with open_scratch() as folder:
        found = folder / FINDINGS
        left_out, counts = find(survey, gallery, rules, found)
        if left_out.all():
            raise InputInvalid(
                f"nothing would be left in {to} ({counts}); compare with fewer pictures or raise a cosine"
            )
        if path.exists() and digest_file(path) != digest_file(found):
            log.info("%s was made by other rules or benchmarks: writing its rows afresh", to)
            for stale in (to / DESCRIPTION, *(it for name in PATTERNS for it in to.glob(name)), path):
                delete_inside(stale)
        with replace_path(path) as temporary:
            shutil.copyfile(found, temporary)
    with replace_path(survey.facts / LEFT_OUT) as temporary, temporary.open("wb") as stream:
        np.save(stream, left_out)
    return counts


def _finish(to: Path, dirty: SetDescription, counts: Mapping[str, int], rules: CleaningRules) -> dict[str, Any]:
    source = f"{dirty.source}; cleaned"
    written = finish_set(to, dirty.kind, licence=dirty.licence, source=source, notes=counts)
    report = {
        "candidates": sum(dirty.rows.values()),
        "accepted": sum(written.rows.values()),
        "accepted_by_split": written.rows,
        "left_out": dict(counts),
        "rules": asdict(rules),
        "shards": {shard.file: shard.sha256 for shard in written.shards},
    }
    write_json(to / "report.json", report)
    return report
