"""What a relative caption wants, read off its wording: what is to be there, and what is to go.

"replace the cat with a dog" names a cat and wants none. Wordings are those that pairs are made with (templates.py) and
those below; a caption in no such wording is wanted as a whole.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache

from compodiff.language.templates import ADD, REMOVE, REPLACE, TEMPLATES

# Beside those of TEMPLATES. {thing} is a target that begins as a thing does, which "red" and "darker" do not.
_FURTHER = {
    REPLACE: (
        "{target} instead",
        "{target} instead of {reference} please",
        "{target} where {reference} is",
        "{thing} for {reference}",
        "{thing}",
        "{thing} please",
        "{thing}, not {reference}",
        "{thing} and not {reference}",
        "{thing}, no {reference}",
        "not {reference} but {target}",
        "{reference} becomes {target}",
        "{reference} replaced by {target}",
        "replace {reference} by {target}",
        "exchange {reference} for {target}",
        "substitute {target} for {reference}",
        "change {reference} into {thing}",
        "make it {thing}",
        "let it be {thing}",
        "it is {thing}",
        "now {thing}",
        "but {thing}",
        "the same but {thing}",
        "the same, but {thing}",
        "the same with {thing}",
        "show {thing}",
        "show me {thing}",
        "find {thing}",
        "I want {thing}",
        "a photo of {target}",
        "a picture of {target}",
    ),
    ADD: (
        "with {target} too",
        "with {target} added",
        "the same with {target} added",
        "and {target}",
        "also {thing}",
        "I also want {target}",
        "put {target} there as well",
        "let there be {target} too",
    ),
    REMOVE: (
        "the same but no {reference}",
        "the same, but without {reference}",
        "leave out {reference}",
        "take out {reference}",
        "take away {reference}",
        "delete {reference}",
        "I do not want {reference}",
        "not {reference}",
    ),
}
_GROUPS = {
    "target": r"(?P<target>.+?)",
    "reference": r"(?P<reference>.+?)",
    "reference_bare": r"(?P<reference>.+?)",
    "thing": r"(?P<target>(?:an?|the|some|one|two|three|four|five|many) .+?)",
}
_PLACE = re.compile(r"\\\{(\w+)\\\}")
_POLITE = re.compile(r"^(?:please,? |can you |could you )+|[\s.,;:!?]+$|,? please[\s.!?]*$", re.IGNORECASE)


@dataclass(frozen=True)
class Wish:
    """What a relative caption wants.

    Attributes:
        there: what is to be seen, in words; "" where nothing is said of it.
        gone: what is no longer to be seen.
        keeps: whether the rest of the reference stays; a replacement's does as far as nothing is said of it.
    """

    there: str
    gone: str = ""
    keeps: bool = False


def read_wish(caption: str) -> Wish:
    """Read what a relative caption wants; the whole caption is to be there where its wording is not known."""
    said = " ".join(_POLITE.sub("", caption.strip()).split())
    for kind, wording in _compile_wordings():
        found = wording.fullmatch(said)
        if found:
            named = {name: words.strip(" ,;") for name, words in found.groupdict().items()}
            return Wish(named.get("target", ""), named.get("reference", ""), kind != REPLACE)
    return Wish(caption)


def list_wished(captions: Iterable[str]) -> set[str]:
    """Return the texts that say what captions want, which are embedded to answer them."""
    return {text for wish in map(read_wish, captions) for text in (wish.there, wish.gone)}


@cache
def _compile_wordings() -> tuple[tuple[str, re.Pattern[str]], ...]:
    """Return the kind and the pattern of each wording, first those that fix most letters."""
    every = [(kind, wording) for kind in (REPLACE, ADD, REMOVE) for wording in (*TEMPLATES[kind], *_FURTHER[kind])]
    every.sort(key=lambda each: -len(re.sub(r"\{\w+\}", "", each[1])))
    return tuple((kind, _compile_wording(wording)) for kind, wording in every)


def _compile_wording(wording: str) -> re.Pattern[str]:
    """Make a pattern of a wording, whose closing mark may be missing."""
    body = re.escape(wording.rstrip("?"))
    return re.compile(_PLACE.sub(lambda place: _GROUPS[place[1]], body), re.IGNORECASE)
