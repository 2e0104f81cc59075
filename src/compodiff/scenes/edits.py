"""Families of scenes: a base scene of one split's objects, and what becomes of it by one edit each.

One object of every base scene can change its colour or skin tone.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.random import Generator

from compodiff.scenes.captions import (
    ADD,
    COUNT,
    MOVE,
    RECOLOUR,
    REMOVE,
    REPLACE,
    SCENE_RELATIONS,
    add_article,
    describe_scene,
    is_countable,
    list_wordings,
    make_plural,
    number_things,
)
from compodiff.scenes.objects import MOST_OBJECTS, ObjectStock, draw_one
from compodiff.scenes.scene import PLACES, PlacedObject, Scene, draw_ground, place_object

_COUNTS = (0.2, 0.45, 0.35)  # chances of one, two and three objects in a base scene
_TRIES = 20  # draws of an edit, until there are enough that no earlier one equals


@dataclass(frozen=True)
class SceneEdit:
    """One edit of a base scene, in both directions.

    Attributes:
        after: the edited scene.
        relation, back: what the edit is, and what undoes it.
        there, undone: terms for the wordings of both, and `keyword`: what comes in.
        captions: of the base and of the edited scene.
    """

    after: Scene
    relation: str
    back: str
    there: Mapping[str, str]
    undone: Mapping[str, str]
    captions: tuple[str, str]

    def list_relative_captions(self) -> tuple[list[str], list[str]]:
        """Return all wordings of the edit, and of what undoes it."""
        return list_wordings(self.relation, self.there), list_wordings(self.back, self.undone)


@dataclass(frozen=True)
class SceneFamily:
    """A base scene and its edits; no two scenes are equal."""

    base: Scene
    edits: tuple[SceneEdit, ...]

    @property
    def scenes(self) -> tuple[Scene, ...]:
        """The base and what becomes of it."""
        return (self.base, *(edit.after for edit in self.edits))


def make_family_generator(seed: int, split: str, number: int) -> Generator:
    """Return the generator of one family: families can be drawn in any order, in any process."""
    return np.random.default_rng([seed, *split.encode(), number])


def draw_family(stock: ObjectStock, edits_per_relation: int, generator: Generator) -> SceneFamily:
    """Draw a base scene and up to so many edits of each relation."""
    base, style = draw_scene(stock, generator)
    editor = _SceneEditor(stock, style, base, generator)
    edits: dict[str, SceneEdit] = {}
    for relation in SCENE_RELATIONS:
        for edit in editor.draw_edits(relation, edits_per_relation):
            edits.setdefault(edit.after.name, edit)
    return SceneFamily(base, tuple(edits.values()))


def draw_scene(stock: ObjectStock, generator: Generator) -> tuple[Scene, str]:
    """Draw a scene of one to three objects, and return it with their style."""
    style = stock.draw_style(generator)
    count = int(generator.choice(MOST_OBJECTS, p=_COUNTS)) + 1
    pictures = [stock.draw_changing(style, generator)]
    while len(pictures) < count:
        pictures.append(stock.draw_another(style, tuple(pictures), generator))
    places = generator.permutation(list(PLACES))[:count]
    objects = (place_object(picture, str(place), generator) for picture, place in zip(pictures, places, strict=True))
    return Scene(*draw_ground(generator), tuple(objects)), style


@dataclass(frozen=True)
class _SceneEditor:
    """Draws edits of one base scene."""

    stock: ObjectStock
    style: str
    base: Scene
    generator: Generator

    def draw_edits(self, relation: str, most: int) -> Iterator[SceneEdit]:
        """Draw up to `most` edits of the relation, no two of which give the same scene."""
        draw = getattr(self, f"_{relation}")
        found: dict[str, SceneEdit] = {}
        for _ in range(_TRIES):
            edit: SceneEdit | None = draw()
            if edit is not None and edit.after.name != self.base.name:
                found.setdefault(edit.after.name, edit)
            if len(found) == most:
                break
        yield from found.values()

    def _add(self) -> SceneEdit | None:
        if not self.base.free:
            return None
        picture = self._draw_another()
        new = place_object(picture, self._draw_free_place(), self.generator)
        after = replace(self.base, objects=(*self.base.objects, new))
        terms = self._list_terms(new)
        return self._make_edit(after, (ADD, REMOVE), terms, terms | {"keyword": ""})

    def _remove(self) -> SceneEdit | None:
        if len(self.base.objects) == 1:
            return None
        old = draw_one(self.base.objects, self.generator)
        terms = self._list_terms(old)
        return self._make_edit(self._remove_object(old), (REMOVE, ADD), terms | {"keyword": ""}, terms)

    def _replace(self) -> SceneEdit:
        old = draw_one(self.base.objects, self.generator)
        new = replace(old, picture=self._draw_another())
        return self._make_edit(
            self._remove_object(old, new), (REPLACE, REPLACE), self._make_terms(old, new), self._make_terms(new, old)
        )

    def _recolour(self) -> SceneEdit | None:
        old = draw_one(self.base.objects, self.generator)
        changes = self.stock.find_recolourings(old.picture)
        if not changes:
            return None
        change = draw_one(changes, self.generator)
        new = replace(old, picture=change.target)
        terms = change.reference_term, change.target_term
        there, undone = self._make_terms(old, new, *terms), self._make_terms(new, old, *reversed(terms))
        return self._make_edit(self._remove_object(old, new), (RECOLOUR, RECOLOUR), there, undone)

    def _move(self) -> SceneEdit | None:
        old = draw_one(self.base.objects, self.generator)
        new = replace(old, place=self._draw_free_place())
        after = self._remove_object(old, new)
        return self._make_edit(after, (MOVE, MOVE), self._list_terms(new), self._list_terms(old), moved=(old, new))

    def _count(self) -> SceneEdit | None:
        """Add copies of an object, each of the object's size, at free places."""
        old = draw_one(self.base.objects, self.generator)
        name = self.stock.names[old.picture]
        if not is_countable(name):
            return None
        free = self.generator.permutation(self.base.free)[: self.generator.integers(1, 3)]
        after = replace(self.base, objects=(*self.base.objects, *(replace(old, place=str(place)) for place in free)))
        there, undone = (
            {"number": number, "names": names, "plural": make_plural(name), "keyword": f"{number} {names}"}
            for number, _, names in (number_things(name, count).partition(" ") for count in (1 + len(free), 1))
        )
        return self._make_edit(after, (COUNT, COUNT), there, undone)

    def _make_edit(
        self,
        after: Scene,
        relations: tuple[str, str],
        there: Mapping[str, str],
        undone: Mapping[str, str],
        moved: tuple[PlacedObject | None, PlacedObject | None] = (None, None),
    ) -> SceneEdit:
        captions = self._describe(self.base, moved[0]), self._describe(after, moved[1])
        # Where nothing comes in, the whole of what is left is looked for.
        there, undone = (
            terms | {"keyword": terms["keyword"] or caption}
            for terms, caption in zip((dict(there), dict(undone)), reversed(captions), strict=True)
        )
        return SceneEdit(after, *relations, there, undone, captions)

    def _describe(self, scene: Scene, moved: PlacedObject | None) -> str:
        """Describe a scene; the place of an object is named only where that is what changes."""
        names = [
            self.stock.names[each.picture] + (f" at the {each.place}" if each == moved else "")
            for each in sorted(scene.objects)
        ]
        return describe_scene(names, (scene.top, scene.bottom))

    def _list_terms(self, each: PlacedObject) -> dict[str, str]:
        name = self.stock.names[each.picture]
        return {"name": name, "a_name": add_article(name), "place": each.place, "keyword": name}

    def _make_terms(self, old: PlacedObject, new: PlacedObject, was: str = "", becomes: str = "") -> dict[str, str]:
        """Return terms of a replacement, or with the attribute's terms those of a recolouring."""
        name, new_name = self.stock.names[old.picture], self.stock.names[new.picture]
        bare = name.removeprefix(f"{was} ").removesuffix(f" with {was}").removesuffix(f", {was}")
        own = {"new": becomes, "old": was, "bare": bare} if becomes else {"a_new": add_article(new_name)}
        return {"name": name, "keyword": new_name, **own}

    def _remove_object(self, old: PlacedObject, *new: PlacedObject) -> Scene:
        return replace(self.base, objects=(*(each for each in self.base.objects if each != old), *new))

    def _draw_another(self) -> str:
        return self.stock.draw_another(self.style, tuple(each.picture for each in self.base.objects), self.generator)

    def _draw_free_place(self) -> str:
        return draw_one(self.base.free, self.generator)
