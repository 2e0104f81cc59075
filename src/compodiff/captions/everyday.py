"""Captions of everyday things by a grammar of our own, and edits of them: nothing is downloaded, nothing is tagged.

    three small dogs on a beach at night
    a red bicycle in front of a house with a basket

A caption is made of a number, an attribute, a name, a place, a companion, and a moment or a style; most are left out.
An edit changes one of them, so what a caption says besides stays as it is.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from random import Random

from compodiff.captions.edits import CaptionEdit
from compodiff.captions.everyday_words import (
    CLASS_ATTRIBUTES,
    CLASS_PLACES,
    KINDS,
    MOMENTS,
    NUMBERS,
    STYLES,
    Kind,
    make_plural,
)
from compodiff.language.templates import ADD, ATTRIBUTE, REMOVE, REPLACE, TEMPLATES, choose_article

COUNT, PLACE, MOMENT, STYLE = "count", "place", "moment", "style"
# How often a caption has each, and how often each is what an edit changes.
_PRESENT = {ATTRIBUTE: 0.3, PLACE: 0.4, ADD: 0.12, MOMENT: 0.05, STYLE: 0.05, COUNT: 0.12}
_CHANGED = {
    REPLACE: 0.42,
    ATTRIBUTE: 0.16,
    PLACE: 0.12,
    ADD: 0.07,
    REMOVE: 0.07,
    COUNT: 0.08,
    MOMENT: 0.04,
    STYLE: 0.04,
}
_CLASS_SHARE = 0.3  # of the names: those of the classes that were handed in
_REPLACING = ("{target} instead", "make it {target}", "now {target}", "the same with {target}", "{target}")
_COUNTING = (
    "{many}",
    "{number} of them",
    "make it {many}",
    "show {many}",
    "{many} instead of {before}",
    "now {number}",
)
_PLACING = (
    "{place}",
    "the same {place}",
    "put it {place}",
    "now {place}",
    "but {place}",
    "{place} instead",
    "show it {place}",
)


@dataclass(frozen=True)
class EverydayCaption:
    """What a caption says, "" for what it leaves out.

    Attributes:
        kind: of the thing.
        name: of the thing, in the singular.
        number: "" for one; else one of NUMBERS.
        attribute: an adjective.
        place: with its preposition.
        companion: another thing beside it.
        moment: when, or in what weather; or in which style.
    """

    kind: Kind
    name: str
    number: str = ""
    attribute: str = ""
    place: str = ""
    companion: str = ""
    moment: str = ""

    @cached_property
    def thing(self) -> str:
        """Return the thing with number or article and attribute: "two red cars", "an old car"."""
        bare = f"{self.attribute} {make_plural(self.name) if self.number else self.name}".strip()
        return f"{self.number or choose_article(bare)} {bare}"

    def __str__(self) -> str:
        beside = f"and {_name_one(self.companion)}" if self.companion else ""
        return " ".join(filter(None, (self.thing, beside, self.place, self.moment)))


class EverydayGrammar:
    """Draws captions and edits; the same seed gives the same ones."""

    def __init__(self, seed: int, class_names: Sequence[str] = ()) -> None:
        """Take names besides our own, such as those of a classifier's classes."""
        self._random = Random(seed)
        self._classes = Kind(tuple(class_names), CLASS_ATTRIBUTES, CLASS_PLACES) if class_names else None
        self._names = [(name, kind) for kind in KINDS for name in kind.names]
        self._edit: dict[str, Callable[[EverydayCaption], tuple[EverydayCaption, str, str]]] = {
            REPLACE: self._replace,
            ATTRIBUTE: self._change_attribute,
            PLACE: self._change_place,
            ADD: self._add,
            REMOVE: self._remove,
            COUNT: self._change_number,
            MOMENT: lambda before: self._change_moment(before, MOMENTS),
            STYLE: lambda before: self._change_moment(before, STYLES),
        }

    def draw_captions(self, count: int) -> Iterator[str]:
        """Yield `count` different captions."""
        seen: set[str] = set()
        while len(seen) < count:
            caption = str(self._draw_caption())
            if caption not in seen:
                seen.add(caption)
                yield caption

    def draw_edits(self, count: int) -> Iterator[CaptionEdit]:
        """Yield `count` edits; their captions differ."""
        kinds, weights = list(_CHANGED), list(_CHANGED.values())
        made = 0
        while made < count:
            before = self._draw_caption()
            relation = self._random.choices(kinds, weights)[0]
            if relation == REMOVE and not before.companion:
                before = replace(before, companion=self._draw_name()[0])
            after, said, keyword = self._edit[relation](before)
            if str(after) == str(before):
                continue
            made += 1
            known = keyword if keyword in str(after) else ""  # "wallaby" is not in "two wallabies"
            yield CaptionEdit(relation, str(before), str(after), said, known)

    def _draw_caption(self) -> EverydayCaption:
        name, kind = self._draw_name()
        has = {part: self._random.random() < chance for part, chance in _PRESENT.items()}
        return EverydayCaption(
            kind,
            name,
            number=self._random.choice(NUMBERS) if has[COUNT] else "",
            attribute=self._random.choice(kind.attributes) if has[ATTRIBUTE] else "",
            place=self._random.choice(kind.places) if has[PLACE] else "",
            companion=self._draw_name()[0] if has[ADD] else "",
            moment=self._random.choice(MOMENTS if has[MOMENT] else STYLES) if has[MOMENT] or has[STYLE] else "",
        )

    def _draw_name(self) -> tuple[str, Kind]:
        if self._classes and self._random.random() < _CLASS_SHARE:
            return self._random.choice(self._classes.names), self._classes
        return self._random.choice(self._names)

    def _replace(self, before: EverydayCaption) -> tuple[EverydayCaption, str, str]:
        """Let another thing take the place of the one that is there; attributes that would not fit it go."""
        name, kind = self._draw_name()
        attribute = before.attribute if before.attribute in kind.attributes else ""
        after = replace(before, name=name, kind=kind, attribute=attribute)
        bare = replace(after, attribute=self._random.choice((attribute, "")))
        template = self._random.choice((*TEMPLATES[REPLACE], *_REPLACING * 3))
        return after, template.format(reference=before.thing, target=bare.thing, reference_bare=before.name), name

    def _change_attribute(self, before: EverydayCaption) -> tuple[EverydayCaption, str, str]:
        others = [each for each in before.kind.attributes if each != before.attribute]
        after = replace(before, attribute=self._random.choice(others))
        noun = make_plural(before.name) if before.number else before.name
        said = self._random.choice(
            ("make the {noun} {target}", "{target}", "make it {target}", "the {noun} should be {target}", "{thing}")
        )
        if before.attribute:
            said = self._random.choice((said, *TEMPLATES[ATTRIBUTE]))
        words = {"reference": before.attribute, "target": after.attribute, "noun": noun, "thing": after.thing}
        return after, said.format(**words), after.attribute

    def _change_place(self, before: EverydayCaption) -> tuple[EverydayCaption, str, str]:
        after = replace(before, place=self._random.choice(before.kind.places))
        return after, self._random.choice(_PLACING).format(place=after.place), after.place

    def _add(self, before: EverydayCaption) -> tuple[EverydayCaption, str, str]:
        name = self._draw_name()[0]
        said = self._random.choice(TEMPLATES[ADD]).format(target=_name_one(name))
        return replace(before, companion=name), said, name

    def _remove(self, before: EverydayCaption) -> tuple[EverydayCaption, str, str]:
        words = {"reference": _name_one(before.companion), "reference_bare": before.companion}
        return replace(before, companion=""), self._random.choice(TEMPLATES[REMOVE]).format(**words), before.name

    def _change_number(self, before: EverydayCaption) -> tuple[EverydayCaption, str, str]:
        after = replace(before, number=self._random.choice((*NUMBERS, "")))
        if not after.number:
            return after, self._random.choice((f"only one {before.name}", "only one of them", "just one")), before.name
        words = {"many": after.thing, "number": after.number, "before": before.thing}
        return after, self._random.choice(_COUNTING).format(**words), after.number

    def _change_moment(self, before: EverydayCaption, moments: Sequence[str]) -> tuple[EverydayCaption, str, str]:
        after = replace(before, moment=self._random.choice(moments))
        return (
            after,
            self._random.choice(("{0}", "the same {0}", "{0}, please", "show it {0}")).format(after.moment),
            "",
        )


def _name_one(name: str) -> str:
    return f"{choose_article(name)} {name}"
