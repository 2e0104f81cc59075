"""Which pictures differ in one attribute only: the ordered pairs that become triplets."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import permutations

from compodiff.catalogue.drawing import STYLES
from compodiff.catalogue.families import CAT_FACE, CLOCK_TIME, COLOUR, DIRECTION
from compodiff.catalogue.names import GENDER, HAIR, SKIN_TONE, Emoji

STYLE = "style"
# Rarest first: a concept is dealt to a split together with those that share its rarest relation.
RELATIONS = (HAIR, CAT_FACE, CLOCK_TIME, COLOUR, DIRECTION, GENDER, SKIN_TONE, STYLE)


@dataclass(frozen=True)
class PictureChange:
    """An ordered pair of pictures and the words that change between them."""

    reference: str
    target: str
    relation: str
    reference_term: str
    target_term: str


def make_picture_id(style: str, codepoints: str) -> str:
    """Name the picture of an emoji in a style."""
    return f"{style}-{codepoints}"


def find_changes(emoji: Iterable[Emoji]) -> list[tuple[Emoji, Emoji, str]]:
    """Return each ordered pair of emoji that differ in exactly one attribute, with that attribute."""
    alike: dict[tuple[str, str, frozenset[tuple[str, str]]], list[Emoji]] = defaultdict(list)
    for each in emoji:
        for attribute in each.attributes:
            others = frozenset(item for item in each.attributes.items() if item[0] != attribute)
            alike[attribute, each.base, others].append(each)
    return [
        (reference, target, attribute)
        for (attribute, _, _), members in sorted(alike.items(), key=lambda item: item[0][:2])
        for reference, target in permutations(members, 2)
        if _is_one_change(attribute, reference, target)
    ]


def find_relations(emoji: Sequence[Emoji], drawn: dict[str, str]) -> Iterator[PictureChange]:
    """Yield every change between drawn pictures (picture_id -> pixel digest), in a fixed order."""
    seen: set[tuple[str, str, str, str]] = set()
    toneless = _find_toneless(emoji, drawn)
    for change in _list_candidates(emoji):
        pixels = drawn.get(change.reference), drawn.get(change.target)
        if pixels[0] is None or pixels[1] is None or pixels[0] == pixels[1]:
            continue
        if change.relation == SKIN_TONE and not toneless.isdisjoint(pixels):
            continue
        key = (pixels[0], pixels[1], change.relation, change.target_term)
        if key not in seen:
            seen.add(key)
            yield change


def _find_toneless(emoji: Iterable[Emoji], drawn: dict[str, str]) -> set[str]:
    """Return the digests of pictures that stand for more than one skin tone, and so show none."""
    tones: dict[str, set[str]] = defaultdict(set)
    for each in emoji:
        for style in STYLES:
            digest = drawn.get(make_picture_id(style.key, each.codepoints))
            if digest is not None and SKIN_TONE in each.attributes:
                tones[digest].add(each.attributes[SKIN_TONE])
    return {digest for digest, shown in tones.items() if len(shown) > 1}


def _list_candidates(emoji: Sequence[Emoji]) -> Iterator[PictureChange]:
    for reference, target, attribute in find_changes(emoji):
        terms = reference.attributes[attribute], target.attributes[attribute]
        for style in STYLES:
            ends = make_picture_id(style.key, reference.codepoints), make_picture_id(style.key, target.codepoints)
            yield PictureChange(*ends, attribute, *terms)
    for each in emoji:
        for reference_style, target_style in permutations(STYLES, 2):
            ends = (
                make_picture_id(reference_style.key, each.codepoints),
                make_picture_id(target_style.key, each.codepoints),
            )
            yield PictureChange(*ends, STYLE, reference_style.title, target_style.title)


def _is_one_change(attribute: str, reference: Emoji, target: Emoji) -> bool:
    """Refuse two spellings of one look; of two people's skin tones, both may change only if both stay equal."""
    terms = reference.attributes[attribute], target.attributes[attribute]
    if terms[0] == terms[1]:
        return False
    if attribute != SKIN_TONE:
        return True
    first, second = (term.split(" and ") * (1 if " and " in term else 2) for term in terms)
    changed = sum(before != after for before, after in zip(first, second, strict=True))
    return changed == 1 or (len(set(first)) == 1 and len(set(second)) == 1)
