"""What people write of scenes: what is in one, and how one shall change. All wordings are our own."""

import re
from collections.abc import Mapping, Sequence

ADD, REMOVE, REPLACE, RECOLOUR, MOVE, COUNT = "add", "remove", "replace", "recolour", "move", "count"
SCENE_RELATIONS = (ADD, REMOVE, REPLACE, RECOLOUR, MOVE, COUNT)
NUMBERS = ("no", "one", "two", "three", "four")

# {name} is the object that the edit is about, {new} what takes its place, {place} where, {number} how many.
_TEMPLATES: dict[str, tuple[str, ...]] = {
    ADD: (
        "add {a_name}",
        "with {a_name} too",
        "and {a_name}",
        "put {a_name} there as well",
        "I also want {a_name}",
        "the same with {a_name} added",
        "add {a_name} at the {place}",
        "place {a_name} at the {place}",
        "{a_name} besides, at the {place}",
        "let there be {a_name} too",
    ),
    REMOVE: (
        "without the {name}",
        "remove the {name}",
        "take the {name} away",
        "no {name}",
        "the same but no {name}",
        "leave out the {name}",
        "erase the {name}",
        "get rid of the {name}",
        "I do not want the {name}",
    ),
    REPLACE: (
        "{a_new} instead of the {name}",
        "replace the {name} with {a_new}",
        "swap the {name} for {a_new}",
        "turn the {name} into {a_new}",
        "change the {name} to {a_new}",
        "the {name} becomes {a_new}",
        "{a_new} where the {name} is",
        "exchange the {name} for {a_new}",
        "not the {name} but {a_new}",
    ),
    RECOLOUR: (
        "make the {bare} {new}",
        "the {bare} in {new}",
        "change the {bare} to {new}",
        "turn the {bare} {new}",
        "I want the {bare} to be {new}",
        "paint the {bare} {new}",
        "{new} for the {bare}",
        "the {bare} {new} instead of {old}",
    ),
    MOVE: (
        "move the {name} to the {place}",
        "put the {name} at the {place}",
        "the {name} at the {place}",
        "shift the {name} to the {place}",
        "the {name} belongs at the {place}",
        "now with the {name} at the {place}",
        "the same, but the {name} at the {place}",
        "bring the {name} to the {place}",
    ),
    COUNT: (
        "{number} {names}",
        "make it {number} {names}",
        "show {number} {names}",
        "change the number of {plural} to {number}",
        "I want {number} {names}",
        "with {number} {names}",
        "there should be {number} {names}",
        "{number} {names} now",
    ),
}
_SKIN = "skin tone"
_SKIN_TEMPLATES = (
    "give the {bare} {new}",
    "the {bare} with {new}",
    "the {bare}, but with {new}",
    "change the {bare} to {new}",
    "I want the {bare} to have {new}",
    "{new} for the {bare}",
    "the {bare} with {new} instead of {old}",
)
_IRREGULAR = {
    "mouse": "mice",
    "man": "men",
    "woman": "women",
    "person": "people",
    "child": "children",
    "foot": "feet",
    "tooth": "teeth",
    "goose": "geese",
    "ox": "oxen",
    "wolf": "wolves",
    "leaf": "leaves",
    "loaf": "loaves",
    "knife": "knives",
    "fish": "fish",
    "sheep": "sheep",
    "deer": "deer",
    "potato": "potatoes",
    "tomato": "tomatoes",
    "mango": "mangoes",
}
_NOUN_ENDS = re.compile(r",| (?:of|with|without|in|and|showing|pointing|facing|behind|from|on|at|for) ")
_SIBILANTS = ("s", "x", "z", "ch", "sh")


def list_wordings(relation: str, terms: Mapping[str, str]) -> list[str]:
    """Return every way we know to ask for an edit, in a fixed order; `terms` are those of the relation's templates."""
    is_skin = relation == RECOLOUR and terms["new"].endswith(_SKIN)
    return [template.format_map(terms) for template in (_SKIN_TEMPLATES if is_skin else _TEMPLATES[relation])]


def describe_scene(objects: Sequence[str], ground: tuple[str, str]) -> str:
    """Say what a scene shows, such as "a dog, two apples and a lion on a pink ground".

    `objects` names each object, as often as it is there; `ground` is the colours at the top and at the bottom.
    """
    counts = {name: list(objects).count(name) for name in objects}
    phrases = [number_things(name, count) if count > 1 else add_article(name) for name, count in counts.items()]
    *first, last = phrases
    listed = f"{', '.join(first)} and {last}" if first else last
    top, bottom = ground
    shade = f"a {top} ground" if top == bottom else f"a ground from {top} to {bottom}"
    return f"{listed} on {shade}"


def add_article(name: str) -> str:
    """Put the article before a name: a dog, an apple."""
    return f"{'an' if name[0].lower() in 'aeiou' else 'a'} {name}"


def number_things(name: str, count: int) -> str:
    """Put a number before a name: one dog, two dogs."""
    return f"{NUMBERS[count]} {name if count == 1 else make_plural(name)}"


def make_plural(name: str) -> str:
    """Return the plural of a name that `is_countable`."""
    *first, last = name.split(" ")
    if last in _IRREGULAR:
        many = _IRREGULAR[last]
    elif last.endswith("y") and last[-2:-1] not in "aeiou":
        many = f"{last[:-1]}ies"
    elif last.endswith(_SIBILANTS):
        many = f"{last}es"
    else:
        many = f"{last}s"
    return " ".join((*first, many))


def is_noun(name: str) -> bool:
    """Return whether "a NAME" reads well: its noun is no plural, and no activity or state ("camping", "locked")."""
    noun = _NOUN_ENDS.split(name, maxsplit=1)[0]
    return not (noun.endswith("s") or (" " not in noun and noun.endswith(("ing", "ed"))))


def is_countable(name: str) -> bool:
    """Return whether the name ends with its noun, which then takes the plural."""
    return is_noun(name) and not name.endswith("ing") and _NOUN_ENDS.search(name) is None
