"""A picture and exact edits of it."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from numpy.random import Generator
from PIL import Image

from compodiff.scenes.exact.captions import BACK, GROUND, TINT
from compodiff.scenes.exact.operations import COLOURS, WAYS, ExactEdit, edit_picture
from compodiff.scenes.exact.subjects import Subject

BASE = "base"
# Relation and colour of each edit that any picture can have.
EVERY_EDIT = tuple(
    (relation, colour) for relation in BACK if relation != GROUND for colour in (COLOURS if relation == TINT else ("",))
)


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


def list_ways(edit: ExactEdit, ground: str | None) -> Mapping[int, tuple[str, str]]:
    """Return relation and colour of an edit's wordings, there (0) and back (1)."""
    undone = (ground or "") if edit.relation == GROUND else edit.colour
    return {0: (edit.relation, edit.colour), 1: (BACK[edit.relation], undone)}


def draw_every_edit(subject: Subject, generator: Generator) -> EditedFamily:
    """Return a picture with an edit of each relation and tint, their strengths drawn; its ground is left as it is."""
    edits = (
        ExactEdit(relation, float(generator.random()), colour, int(generator.integers(WAYS)))
        for relation, colour in EVERY_EDIT
    )
    return EditedFamily(subject, tuple(edits))
