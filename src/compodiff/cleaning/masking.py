"""Give the rows of a set masks: where CLIPSeg finds what their texts name (paper, section 4.1).

Of pairs, a term of the caption is looked for in the picture. Of triplets, what the reference's caption names and the
target's does not is looked for in the reference; where captions are missing, the first term of the relative caption is.
Where both pictures are equal but for the edit, what comes into the target is masked, too. A row that has a mask keeps
it, and one in whose picture nothing is found has none.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from compodiff.cleaning.referring import ShardTask, list_tasks, refer, run
from compodiff.errors import InputInvalid
from compodiff.images import decode
from compodiff.language.terms import TaggedCaption, Tagger
from compodiff.params import MaskParams
from compodiff.sets import PAIRS, PATTERNS, Place, TrainingSet, finish_set, open_set, open_shard
from compodiff.sets.addresses import is_address
from compodiff.storage import claims
from compodiff.storage.ownership import require_apart

if TYPE_CHECKING:
    from compodiff.stable_diffusion.clipseg import ClipSegMasks

KIND = "masked set"
_AT_ONCE = 64  # rows whose pictures are in memory
_WHOLE = "squash"  # cells of the whole picture, whatever an encoder crops
Row = dict[str, Any]


@dataclass(frozen=True)
class Masker:
    """Writes the rows of shards with masks; picklable, and loads CLIPSeg when a worker masks its first one.

    Attributes:
        address: of the set.
        to: folder of the new one.
        params: of CLIPSeg.
        is_aligned: whether the pictures of a triplet are equal but for the edit.
    """

    address: str
    to: Path
    params: MaskParams
    is_aligned: bool

    def __call__(self, task: ShardTask) -> None:
        """Write a shard.

        Raises:
            InputInvalid: the shard is damaged, or there is no CLIPSeg.
            ResourceUnavailable: the disk is full, or CLIPSeg is not there.
        """
        with open_shard(self.to, task.shard.split, task.number, self._set.description.kind) as shard:
            for batch in self._set.read_rows(task.shard).to_batches(_AT_ONCE):
                rows = batch.to_pylist()
                for row, mask in zip(rows, self._find_masks(rows), strict=True):
                    shard.add(row | refer(row, self._set, self.to) | {"mask": mask})

    def _find_masks(self, rows: Sequence[Row]) -> Iterator[bytes | None]:
        wanted = [[] if row["mask"] is not None else self._list_wanted(row) for row in rows]
        flat = [*chain.from_iterable(wanted)]
        found = self._clipseg.find_cells([picture for picture, _ in flat], [phrase for _, phrase in flat], _WHOLE)
        for row, of_row in zip(rows, wanted, strict=True):
            cells = np.logical_or.reduce([next(found) for _ in of_row]) if of_row else np.zeros(1, np.bool_)
            yield np.packbits(cells.reshape(-1)).tobytes() if cells.any() else row["mask"]

    def _list_wanted(self, row: Row) -> list[tuple[Image.Image, str]]:
        """Return what to find in which picture of a row; a picture that cannot be read is passed over."""
        phrases = self._name_in_pair(row) if self._set.description.kind == PAIRS else self._name_in_triplet(row)
        read = ((self._read(row[end]), phrase) for end, phrase in phrases if phrase)
        return [(picture, phrase) for picture, phrase in read if picture is not None]

    def _name_in_pair(self, row: Row) -> list[tuple[str, str]]:
        """Return a term of the caption; the row's key decides which."""
        text = next((text for text in row["texts"] if text), "")
        (tagged,) = self._tagger.tag([text]) if text else [TaggedCaption("", ())]
        terms = _list_terms(tagged)
        return [("picture", Random(row["key"]).choice(terms) if terms else text)]

    def _name_in_triplet(self, row: Row) -> list[tuple[str, str]]:
        from compodiff.stable_diffusion.clipseg import choose_mask_phrase

        if row["reference_caption"] and row["target_caption"]:
            before, after = self._tagger.tag([row["reference_caption"], row["target_caption"]])
            goes = choose_mask_phrase(before, after.caption)
            comes = choose_mask_phrase(after, before.caption, row["keyword"] or "") if self.is_aligned else ""
            return [("reference", goes), ("target", comes)]
        asked = next(iter(row["relative_captions"]), "")
        terms = _list_terms(*self._tagger.tag([asked])) if asked else []
        return [("reference", terms[0])] if terms else []

    def _read(self, place: Row) -> Image.Image | None:
        try:
            return decode(self._set.places.read(Place.of(place)))
        except InputInvalid:
            return None

    @cached_property
    def _set(self) -> TrainingSet:
        return open_set(self.address)

    @cached_property
    def _tagger(self) -> Tagger:
        return Tagger()

    @cached_property
    def _clipseg(self) -> "ClipSegMasks":
        from compodiff.stable_diffusion.clipseg import ClipSegMasks

        return ClipSegMasks.load(self.params)


def mask(masker: Masker) -> tuple[int, int]:
    """Write a set whose rows have masks; return how many have one, and how many rows it has.

    A run that was killed continues; one with other options begins anew.

    Raises:
        InputInvalid: there is no set, a shard of it is damaged, or it holds embeddings and no pictures.
        ResourceUnavailable: the disk is full, CLIPSeg is not there, or a worker was killed; what is done is kept.
    """
    opened, to = open_set(masker.address), masker.to
    opened.description.require_pictures("CLIPSeg")
    if not is_address(masker.address):
        require_apart(to, Path(masker.address))
    decides = {
        "masked": masker.address,
        "digest": opened.description.digest,
        "masks": masker.params.model_dump(exclude={"batch_size"}),
        "aligned": masker.is_aligned,
    }
    claims.claim_folder(to, decides, KIND, PATTERNS)
    run(masker, list_tasks(opened.description.shards, to), "finding masks")
    dirty = opened.description
    written = finish_set(to, dirty.kind, licence=dirty.licence, source=f"{dirty.source}; masked", notes=dirty.notes)
    made = open_set(to)
    without = sum(made.read_rows(shard).column("mask").null_count for shard in written.shards)
    total = sum(written.rows.values())
    return total - without, total


def _list_terms(tagged: TaggedCaption) -> list[str]:
    """Return the terms of a caption that name things, each with its adjectives, in order."""
    from compodiff.language.terms import ATTRIBUTE

    return [tagged.caption[it.start : it.end] for it in tagged.occurrences if it.form != ATTRIBUTE]
