"""The objects that scenes are made of: the catalogue's distinct pictures of one split whose names fit a sentence.

Objects are drawn by concept, so that a concept with many pictures (a person in every skin tone) is no more frequent.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar

from numpy.random import Generator

from compodiff.catalogue.families import COLOUR
from compodiff.catalogue.names import SKIN_TONE
from compodiff.catalogue.pictures import Catalogue
from compodiff.errors import InputInvalid
from compodiff.scenes.captions import is_noun

LONGEST_NAME = 6  # words, so that a caption of four objects fits a text encoder of 32 tokens, or nearly
MOST_OBJECTS = 3  # of a base scene
T = TypeVar("T")


@dataclass(frozen=True)
class Recolouring:
    """Two pictures of one object that differ in colour or skin tone, and the terms."""

    reference: str
    target: str
    reference_term: str
    target_term: str


class ObjectStock:
    """The objects of one split.

    Attributes:
        names: picture_id -> the object's name, such as "red heart".
        concepts: picture_id -> concept.
    """

    def __init__(self, catalogue: Catalogue, split: str) -> None:
        """Refuse, by InputInvalid, a style without three concepts, or one whose colour or skin tone can change."""
        rows = catalogue.pictures
        rows = rows[(rows["split"] == split) & (rows["twin_of"] == rows.index)]
        fits = rows["caption"].map(lambda caption: is_noun(caption) and len(caption.split(" ")) <= LONGEST_NAME)
        rows = rows[fits]
        self.names, self.concepts, self._styles = (
            {str(picture): str(value) for picture, value in rows[column].items()}
            for column in ("caption", "concept", "style")
        )
        self._relations = catalogue.relations
        if min((len(concepts) for concepts in self._by_style.values()), default=0) < MOST_OBJECTS + 1:
            raise InputInvalid(f"the split {split} has too few concepts for scenes; take a larger catalogue")
        if self._recolourings.keys() != self._by_style.keys():
            raise InputInvalid(f"nothing in the split {split} changes colour or skin tone; take a larger catalogue")

    def draw_style(self, generator: Generator) -> str:
        """Draw the style of a scene."""
        return str(generator.choice(sorted(self._by_style)))

    def draw_another(self, style: str, scene: tuple[str, ...], generator: Generator) -> str:
        """Draw a picture of a concept that is not in the scene."""
        present = {self.concepts[picture] for picture in scene}
        concepts = self._by_style[style]
        names = sorted(concepts)
        while (concept := names[generator.integers(len(names))]) in present:
            pass
        return draw_one(concepts[concept], generator)

    def draw_changing(self, style: str, generator: Generator) -> str:
        """Draw a picture whose colour or skin tone can change: the attribute first, then the concept."""
        by_concept = draw_one(list(self._recolourings[style].values()), generator)
        return draw_one(draw_one(list(by_concept.values()), generator), generator).reference

    def find_recolourings(self, picture: str) -> list[Recolouring]:
        """Return what the picture can become."""
        relations = self._recolourings[self._styles[picture]].values()
        own = (each.get(self.concepts[picture], []) for each in relations)
        return [change for changes in own for change in changes if change.reference == picture]

    @cached_property
    def _by_style(self) -> dict[str, dict[str, list[str]]]:
        """Style -> concept -> pictures."""
        found: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
        for picture in sorted(self.names):
            found[self._styles[picture]][self.concepts[picture]].append(picture)
        return found

    @cached_property
    def _recolourings(self) -> dict[str, dict[str, dict[str, list[Recolouring]]]]:
        """Style -> relation -> concept -> changes."""
        found: dict[str, dict[str, dict[str, list[Recolouring]]]] = defaultdict(lambda: defaultdict(dict))
        rows = self._relations[self._relations["relation"].isin((COLOUR, SKIN_TONE))]
        for row in rows.sort_values(["reference", "target"]).to_dict("records"):
            if row["reference"] in self.names and row["target"] in self.names:
                change = Recolouring(row["reference"], row["target"], row["reference_term"], row["target_term"])
                by_concept = found[self._styles[change.reference]][row["relation"]]
                by_concept.setdefault(self.concepts[change.reference], []).append(change)
        return found


def draw_one(items: Sequence[T], generator: Generator) -> T:
    """Draw one of several, as it is (`Generator.choice` would make an array's element of it)."""
    return items[int(generator.integers(len(items)))]
