"""Triplets of whole pictures and exact edits of them; a picture and its edits are a family, each there and back."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path

import numpy as np
from PIL import Image

from compodiff.catalogue.pictures import Catalogue
from compodiff.errors import InputInvalid
from compodiff.images import list_pictures
from compodiff.pairs.pair import CaptionPair, PicturePair
from compodiff.params import ExactEditsParams, FolderEditsParams
from compodiff.scenes.edits import make_family_generator
from compodiff.scenes.exact.captions import describe_edited, list_wordings
from compodiff.scenes.exact.families import BASE, EditedFamily, list_ways
from compodiff.scenes.exact.operations import draw_edits
from compodiff.scenes.exact.subjects import CatalogueSubjects, PhotographSubjects, Subjects
from compodiff.scenes.objects import draw_one
from compodiff.sets import SPLITS


@dataclass(frozen=True)
class EditChoices:
    """How families are drawn."""

    seed: int
    edits_per_picture: int


def draw_edited(subjects: Subjects, split: str, number: int, choices: EditChoices) -> EditedFamily:
    """Draw one family, the same whenever it is asked for."""
    generator = make_family_generator(choices.seed, split, number)
    subject = subjects.draw(number, generator)
    return EditedFamily(subject, tuple(draw_edits(choices.edits_per_picture, subject.ground, generator)))


def make_exact_pairs(of_split: Callable[[str], Subjects], choices: EditChoices) -> Iterator[CaptionPair]:
    """Make the caption pairs of all pictures of both splits; those of a picture are neighbours.

    Raises:
        InputInvalid: what the pictures are made of is missing or damaged.
    """
    for split in SPLITS:
        subjects = of_split(split)
        for number in range(subjects.count()):
            family = draw_edited(subjects, split, number, choices)
            yield from _make_pairs(f"exact-{split}-{number:06d}", split, family, choices.seed)


class ExactEditor:
    """Paints the pictures of `make_exact_pairs`; a pair whose edit changes no pixel has no candidate."""

    def __init__(self, of_split: Callable[[str], Subjects], choices: EditChoices) -> None:
        """Paint for the pairs that the same arguments make."""
        self._subjects, self._choices = cache(of_split), choices
        self._family = lru_cache(maxsize=2)(self._draw_family)  # pairs of a family are neighbours
        self._picture = lru_cache(maxsize=32)(self._paint)

    def generate(self, pairs: Sequence[CaptionPair]) -> Iterator[PicturePair]:
        """Yield both pictures of each pair that they tell apart.

        Raises:
            InputInvalid: a pair is not one of `make_exact_pairs` for these arguments, or a picture does not decode.
        """
        for pair in pairs:
            try:
                before, after = self._picture(pair.reference, pair.split), self._picture(pair.target, pair.split)
            except KeyError as error:
                raise InputInvalid(f"{pair.key} was drawn with other params; run: dvc repro") from error
            if before.tobytes() != after.tobytes():
                yield PicturePair(pair, before, after)

    def _paint(self, name: str, split: str) -> Image.Image:
        family, _, edit = name.partition(":")
        return self._family(int(family.rpartition("-")[2]), split).paint(edit)

    def _draw_family(self, number: int, split: str) -> EditedFamily:
        return draw_edited(self._subjects(split), split, number, self._choices)


def _make_pairs(key: str, split: str, family: EditedFamily, seed: int) -> Iterator[CaptionPair]:
    """Yield two caption pairs of each edit, there and back, each in one of its wordings."""
    generator = make_family_generator(seed, f"{key} wordings", 0)
    base = f"{key}:{BASE}", family.subject.caption
    for number, edit in enumerate(family.edits):
        shown = describe_edited(edit.relation, edit.colour)
        after = f"{key}:{edit.name}", f"{family.subject.caption}, {shown}"
        for way, (reference, target) in enumerate(((base, after), (after, base))):
            relation, colour = list_ways(edit, family.subject.ground)[way]
            yield CaptionPair(
                key=f"{key}-{2 * number + way:02d}",
                split=split,
                reference=reference[0],
                target=target[0],
                reference_caption=reference[1],
                target_caption=target[1],
                relative_caption=draw_one(list_wordings(relation, colour), generator),
                relation=relation,
                keyword=target[1] if way else shown,
            )


def load_subjects(params: ExactEditsParams | FolderEditsParams, reads: Path, split: str) -> Subjects:
    """Return the pictures of one split of a set.

    Args:
        params: of the set.
        reads: the catalogue's folder, or one's own.
        split: of the set.

    Raises:
        InputInvalid: the catalogue is damaged or too small, or the folder holds no picture.
    """
    if isinstance(params, FolderEditsParams):
        return PhotographSubjects(_split_folder(reads, params)[split])
    counts = params.pictures.train if split == SPLITS[0] else params.pictures.validation
    return CatalogueSubjects(Catalogue.load(reads), split, counts)


def _split_folder(folder: Path, params: FolderEditsParams) -> dict[str, list[Path]]:
    """Divide the pictures of a folder, or the most that are drawn of them, among the splits."""
    files = list_pictures(folder).files
    if not files:
        raise InputInvalid(f"{folder} holds no picture; name a folder of pictures under `reads`")
    order = np.random.default_rng(params.seed).permutation(len(files))
    drawn = [files[place] for place in order[: params.pictures]]
    held_out = round(params.validation_fraction * len(drawn))
    return dict(zip(SPLITS, (drawn[held_out:], drawn[:held_out]), strict=True))
