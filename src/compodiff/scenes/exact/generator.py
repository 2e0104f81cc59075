"""Triplets of whole pictures and exact edits of them; a picture and its edits are a family, each there and back."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property, lru_cache

from PIL import Image

from compodiff.errors import InputInvalid
from compodiff.pairs.pair import CaptionPair, PicturePair
from compodiff.scenes.edits import make_family_generator
from compodiff.scenes.exact.captions import BACK, GROUND, describe_edited, list_wordings
from compodiff.scenes.exact.operations import ExactEdit, draw_edits, edit_picture
from compodiff.scenes.exact.subjects import Subject, Subjects
from compodiff.scenes.objects import draw_one
from compodiff.sets import SPLITS

BASE = "base"


@dataclass(frozen=True)
class EditedFamily:
    """A picture and edits of it."""

    subject: Subject
    edits: tuple[ExactEdit, ...]

    @cached_property
    def base(self) -> Image.Image:
        """Return the picture itself."""
        return self.subject.paint(None)

    def paint(self, name: str) -> Image.Image:
        """Return the picture itself, for BASE, or as the edit of this name makes it.

        Raises:
            KeyError: there is no such edit.
        """
        if name == BASE:
            return self.base
        edit = {each.name: each for each in self.edits}[name]
        if edit.relation == GROUND:
            return self.subject.paint(edit.colour)
        return edit_picture(self.base, edit)


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


def list_ways(edit: ExactEdit, ground: str | None) -> Mapping[int, tuple[str, str]]:
    """Return relation and colour of an edit's wordings, there (0) and back (1)."""
    undone = (ground or "") if edit.relation == GROUND else edit.colour
    return {0: (edit.relation, edit.colour), 1: (BACK[edit.relation], undone)}
