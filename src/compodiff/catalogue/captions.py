"""What people write: captions that describe a picture, and relative captions that ask for a change.

A relative caption alone determines the target, given the reference: it names the target's term.
"""

from collections.abc import Mapping
from typing import Any

from compodiff.catalogue.drawing import STYLES
from compodiff.catalogue.families import CAT_FACE, CLOCK_TIME, COLOUR, DIRECTION
from compodiff.catalogue.names import GENDER, HAIR, SKIN_TONE
from compodiff.catalogue.relations import STYLE

# {target} and {reference} are the terms; {a_target} and {a_reference} carry their article where they take one.
_TEMPLATES: dict[str, tuple[str, ...]] = {
    SKIN_TONE: (
        "with {target}",
        "but with {target}",
        "the same with {target}",
        "change to {target}",
        "give it {target}",
        "make it {target}",
        "same picture, {target}",
        "I want {target} here",
        "{target} instead",
        "switch the skin to {target}",
    ),
    GENDER: (
        "but {a_target}",
        "make it {a_target}",
        "the same with {a_target}",
        "show {a_target} instead",
        "change to {a_target}",
        "with {a_target} instead of {a_reference}",
        "replace {a_reference} with {a_target}",
        "I want {a_target} doing this",
        "{a_target} instead",
    ),
    HAIR: (
        "with {a_target}",
        "but with {a_target}",
        "give them {a_target}",
        "change the hair to {a_target}",
        "the same person with {a_target}",
        "make it {a_target}",
        "{a_target} instead of {a_reference}",
        "I want {a_target}",
        "switch to {a_target}",
    ),
    COLOUR: (
        "in {target}",
        "make it {target}",
        "but {target}",
        "the {target} one",
        "change the colour to {target}",
        "{target} instead of {reference}",
        "the same shape in {target}",
        "paint it {target}",
        "turn it {target}",
    ),
    DIRECTION: (
        "{target}",
        "but {target}",
        "now {target}",
        "the same, {target}",
        "turn it so that it is {target}",
        "{target} instead",
        "{target} rather than {reference}",
        "I want it {target}",
        "flip it to be {target}",
    ),
    CLOCK_TIME: (
        "at {target}",
        "showing {target}",
        "set the clock to {target}",
        "but at {target}",
        "change the time to {target}",
        "make it {target}",
        "the same clock at {target}",
        "move the hands to {target}",
        "{target} instead",
    ),
    CAT_FACE: (
        "as {a_target}",
        "but {a_target}",
        "make it {a_target}",
        "turn it into {a_target}",
        "the same expression on {a_target}",
        "with the face of {a_target}",
        "{a_target} instead of {a_reference}",
        "the {target} version",
        "change it to {a_target}",
    ),
    STYLE: (
        "in the {target} style",
        "drawn by {target}",
        "the {target} version",
        "as {target} draws it",
        "make it {target}",
        "the same in {target}",
        "switch from {reference} to {target}",
        "{target} instead of {reference}",
        "in {target}",
    ),
}
_STYLE_TITLES = {style.key: style.title for style in STYLES}
_WITHOUT_ARTICLE = ("two ", "red hair", "curly hair", "white hair", "blond hair")


def list_relative_captions(relation: str, reference_term: str, target_term: str) -> list[str]:
    """Return every way we know to ask for this change, such as "but with dark skin tone"; in a fixed order."""
    terms = {
        "reference": reference_term,
        "target": target_term,
        "a_reference": _add_article(reference_term),
        "a_target": _add_article(target_term),
    }
    return [template.format_map(terms) for template in _TEMPLATES[relation]]


def list_picture_captions(picture: Mapping[Any, Any]) -> list[str]:
    """Return the captions of a row of `Catalogue.pictures`: plain, and naming the style; in a fixed order."""
    caption, style = picture["caption"], _STYLE_TITLES[picture["style"]]
    return [caption, f"{caption} in the {style} style", f"{style} drawing of {caption}"]


def _add_article(term: str) -> str:
    if term.startswith(_WITHOUT_ARTICLE):
        return term
    return f"{'an' if term[0].lower() in 'aeiou' else 'a'} {term}"
