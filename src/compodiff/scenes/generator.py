"""The embedded generator: scenes of the catalogue's pictures, everything but the edit held fixed, with exact masks.

A family of scenes is a base and its edits; each edit gives two caption pairs, there and back. A pair's key names its
family, and the family's seed follows from it, so that any worker draws the same pictures for the same pair.
"""

from collections.abc import Iterator, Sequence
from functools import cache, lru_cache, partial
from pathlib import Path

from numpy.random import Generator

from compodiff.catalogue.pictures import Catalogue
from compodiff.errors import InputInvalid
from compodiff.pairs.pair import CaptionPair, PicturePair
from compodiff.params import ScenesParams
from compodiff.scenes.edits import SceneFamily, draw_family, make_family_generator
from compodiff.scenes.objects import ObjectStock, draw_one
from compodiff.scenes.scene import Painter, Scene

PREFIX = "sprites"


def make_sprite_pairs(catalogue: Catalogue, params: ScenesParams) -> Iterator[CaptionPair]:
    """Make the caption pairs of all families of train and validation scenes; those of a family are neighbours.

    Raises:
        InputInvalid: a split has too few objects for scenes.
    """
    for split, families in params.families.model_dump().items():
        if families == 0:
            continue
        stock = ObjectStock(catalogue, split)
        for number in range(families):
            generator = make_family_generator(params.seed, split, number)
            family = draw_family(stock, params.edits_per_relation, generator)
            yield from _make_pairs(f"{PREFIX}-{split}-{number:06d}", split, family, generator)


class SpriteGenerator:
    """Draws the scenes of `make_sprite_pairs`; each caption pair has one candidate."""

    def __init__(self, data: Path, params: ScenesParams) -> None:
        """Draw with the catalogue in the folder `data`, by the params of the pairs."""
        catalogue = Catalogue.load(data)
        self._params = params
        self._stock = cache(partial(ObjectStock, catalogue))
        self._scenes = lru_cache(maxsize=2)(self._draw_family)  # pairs of a family are neighbours
        self._painter = Painter(catalogue.read)
        self._picture = lru_cache(maxsize=32)(self._painter.paint_picture)

    def generate(self, pairs: Sequence[CaptionPair]) -> Iterator[PicturePair]:
        """Yield both scenes of each pair and the mask of what differs.

        Raises:
            InputInvalid: a pair is not one of `make_sprite_pairs` for these params, or a picture does not decode.
        """
        for pair in pairs:
            scenes = self._scenes(pair.key.rpartition("-")[0], pair.split)
            if not {pair.reference, pair.target} <= scenes.keys():
                raise InputInvalid(f"{pair.key} was drawn with other params; run: dvc repro")
            before, after = scenes[pair.reference], scenes[pair.target]
            mask = self._painter.paint_mask(before, after)
            yield PicturePair(pair, self._picture(before), self._picture(after), mask)

    def _draw_family(self, family_key: str, split: str) -> dict[str, Scene]:
        generator = make_family_generator(self._params.seed, split, int(family_key.rpartition("-")[2]))
        family = draw_family(self._stock(split), self._params.edits_per_relation, generator)
        return {scene.name: scene for scene in family.scenes}


def _make_pairs(family_key: str, split: str, family: SceneFamily, generator: Generator) -> Iterator[CaptionPair]:
    """Yield two caption pairs of each edit, there and back, each in one of its wordings."""
    for number, edit in enumerate(family.edits):
        ends = [(family.base.name, edit.captions[0]), (edit.after.name, edit.captions[1])]
        relations, terms = (edit.relation, edit.back), (edit.there, edit.undone)
        for way, wordings in enumerate(edit.list_relative_captions()):
            (reference, reference_caption), (target, target_caption) = reversed(ends) if way else ends
            yield CaptionPair(
                key=f"{family_key}-{2 * number + way:02d}",
                split=split,
                reference=reference,
                target=target,
                reference_caption=reference_caption,
                target_caption=target_caption,
                relative_caption=draw_one(wordings, generator),
                relation=relations[way],
                keyword=terms[way]["keyword"],
            )
