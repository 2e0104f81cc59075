"""The benchmark of exact edits: photographs, each among all of its own edits and those of the others.

    gallery/validation.tar, gallery/test.tar      every photograph and every edit of it
    queries.validation.jsonl, queries.test.jsonl  as the emoji benchmark's; each edit is asked for, and to be undone
    queries.other_words.jsonl                     as test, in wordings that no training has; no stage asks them

Test pictures are photographs that packages bring (photographs.py), validation pictures are collages.
"""

from collections.abc import Callable, Iterator
from pathlib import Path

from compodiff.catalogue.emoji_benchmark import QueryLine, format_line
from compodiff.catalogue.packing import pack_pictures
from compodiff.catalogue.pictures import Catalogue
from compodiff.params import EditedPictures, ExactEditsBenchmarkParams
from compodiff.scenes.benchmark import save_png
from compodiff.scenes.edits import make_family_generator
from compodiff.scenes.exact.captions import BACK, BRIGHTEN, CLOSER, DARKEN, FARTHER, GROUND, TINT, list_wordings
from compodiff.scenes.exact.families import BASE, EditedFamily, list_ways
from compodiff.scenes.exact.operations import ExactEdit
from compodiff.scenes.exact.other_words import list_other_words
from compodiff.scenes.exact.photographs import find_photographs
from compodiff.scenes.exact.subjects import CatalogueSubjects, PhotographSubjects, Subjects
from compodiff.scenes.objects import draw_one

OTHER_WORDS = "other_words"  # a split: test pictures, asked for in other_words.py's wordings
_TINTS = ("red", "yellow", "green", "blue", "purple")
_EDITS = tuple(
    ExactEdit(relation, colour=colour)
    for relation in BACK
    if relation != GROUND
    for colour in (_TINTS if relation == TINT else ("",))
)
# Opposite ends with the picture itself between them: what is asked of one end, both others answer.
_OPPOSITE = {DARKEN: BRIGHTEN, BRIGHTEN: DARKEN, CLOSER: FARTHER, FARTHER: CLOSER}


def write_exact_edits(folder: Path, catalogue: Catalogue, params: ExactEditsBenchmarkParams) -> None:
    """Write the benchmark into the folder `folder`; the same inputs give the same bytes.

    Raises:
        InputInvalid: a photograph is not there or does not decode, or the catalogue is damaged.
    """
    (folder / "gallery").mkdir()
    photographs = find_photographs()
    collages = EditedPictures(objects=0, scenes=0, collages=params.validation_pictures)
    subjects: dict[str, tuple[Subjects, list[str]]] = {
        "validation": (
            CatalogueSubjects(catalogue, "validation", collages),
            [f"collage-{number:02d}" for number in range(params.validation_pictures)],
        ),
        "test": (PhotographSubjects(list(photographs.values())), list(photographs)),
    }
    for split, (own, names) in subjects.items():
        families = {
            name: EditedFamily(own.draw(number, make_family_generator(params.seed, split, number)), _EDITS)
            for number, name in enumerate(names)
        }
        pack_pictures(folder / "gallery" / f"{split}.tar", _paint_all(families))
        wordings = {split: list_wordings} | ({OTHER_WORDS: list_other_words} if split == "test" else {})
        for asked, list_words in wordings.items():
            queries = _make_queries(families, list_words, f"{asked} wordings", params.seed)
            lines = "".join(f"{format_line(query)}\n" for query in queries)
            (folder / f"queries.{asked}.jsonl").write_text(lines, encoding="utf-8")


def _paint_all(families: dict[str, EditedFamily]) -> Iterator[tuple[str, bytes]]:
    for name, family in families.items():
        for edit in (BASE, *(each.name for each in family.edits)):
            yield f"{name}-{edit}", save_png(family.paint(edit))


def _make_queries(
    families: dict[str, EditedFamily], list_words: Callable[[str, str], list[str]], draws: str, seed: int
) -> Iterator[QueryLine]:
    for number, name in enumerate(families):
        generator = make_family_generator(seed, draws, number)
        for edit in _EDITS:
            for way, (relation, colour) in list_ways(edit, None).items():
                ends = f"{name}-{BASE}", f"{name}-{edit.name}"
                reference, target = reversed(ends) if way else ends
                also = [f"{name}-{_OPPOSITE[edit.relation]}"] if way and edit.relation in _OPPOSITE else []
                caption = draw_one(list_words(relation, colour), generator)
                yield QueryLine(reference, caption, [target, *also], relation, name)
