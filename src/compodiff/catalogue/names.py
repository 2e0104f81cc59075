"""From codepoints to what a picture shows: its name, caption, concept, and the attributes a relation changes.

Skin tone, gender, hair and facing follow from the codepoints (Unicode Technical Standard 51); colour, direction, clock
time and cat faces from families.py. Codepoints are written as upper-case hexadecimals joined by "-", without FE0F.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from compodiff.catalogue.families import CAT_FACE, CLOCK_TIME, COLOUR, CONCEPTS, DIRECTION, MEMBERSHIPS

SKIN_TONE, GENDER, HAIR = "skin_tone", "gender", "hair"
# The default drawing of a person is yellow: a tone like the others once an emoji has tones at all.
YELLOW = "yellow skin tone"
FACING_LEFT, FACING_RIGHT = "facing left", "facing right"

_TONES = {
    "1F3FB": "light skin tone",
    "1F3FC": "medium-light skin tone",
    "1F3FD": "medium skin tone",
    "1F3FE": "medium-dark skin tone",
    "1F3FF": "dark skin tone",
}
_HAIR = {"1F9B0": "red hair", "1F9B1": "curly hair", "1F9B2": "bald head", "1F9B3": "white hair"}
_GENDER_SIGNS = {"2640": "woman", "2642": "man"}
_PEOPLE = {"1F468": "man", "1F469": "woman", "1F9D1": "person"}
_CHILDREN = {"1F466", "1F467", "1F9D2"}
_PERSON, _JOINER, _RIGHT = "1F9D1", "200D", "27A1"
_TWO_PEOPLE = {
    ("person", "person"): "two people",
    ("woman", "woman"): "two women",
    ("man", "man"): "two men",
    ("woman", "man"): "woman and man",
}
_COUPLES = {"1F46F", "1F93C", "1F48F", "1F491", "1F9D1-200D-1F91D-200D-1F9D1"}
_PLURAL = {"person": "two people", "woman": "two women", "man": "two men"}

# Toned couples are spelt out person by person; without tones the same picture has a shorter name.
_SPELLINGS = {
    "1F468-200D-1F91D-200D-1F468": "1F46C",
    "1F469-200D-1F91D-200D-1F469": "1F46D",
    "1F469-200D-1F91D-200D-1F468": "1F46B",
    "1FAF1-200D-1FAF2": "1F91D",
    "1F9D1-200D-2764-200D-1F9D1": "1F491",
    "1F9D1-200D-2764-200D-1F48B-200D-1F9D1": "1F48F",
    **{f"1F9D1-200D-{link}-200D-1F9D1": base for link, base in (("1F430", "1F46F"), ("1FAEF", "1F93C"))},
    **{f"1F468-200D-{link}-200D-1F468": f"{base}-200D-2642" for link, base in (("1F430", "1F46F"), ("1FAEF", "1F93C"))},
    **{f"1F469-200D-{link}-200D-1F469": f"{base}-200D-2640" for link, base in (("1F430", "1F46F"), ("1FAEF", "1F93C"))},
}
# Genders that Unicode gave codepoints of their own: codepoints -> the ungendered codepoints and the gender.
_OWN_GENDER = {
    "1F46C": ("1F9D1-200D-1F91D-200D-1F9D1", "two men"),
    "1F46D": ("1F9D1-200D-1F91D-200D-1F9D1", "two women"),
    "1F46B": ("1F9D1-200D-1F91D-200D-1F9D1", "woman and man"),
    "1F466": ("1F9D2", "boy"),
    "1F467": ("1F9D2", "girl"),
    "1F9D2": ("1F9D2", "child"),
    "1F474": ("1F9D3", "man"),
    "1F475": ("1F9D3", "woman"),
    "1F934": ("1FAC5", "man"),
    "1F478": ("1FAC5", "woman"),
    "1F385": ("1F9D1-200D-1F384", "man"),
    "1F936": ("1F9D1-200D-1F384", "woman"),
    "1F930": ("1FAC4", "woman"),
    "1FAC3": ("1FAC4", "man"),
}


@dataclass(frozen=True)
class Emoji:
    """One emoji: equal `base` and equal `attributes` but one means that only that attribute differs."""

    codepoints: str
    name: str
    caption: str
    concept: str
    base: str
    attributes: Mapping[str, str] = field(default_factory=dict)


def name_codepoints() -> dict[str, str]:
    """Return codepoints -> CLDR short name of each fully qualified emoji and component of the package `emoji`."""
    import emoji

    kept = (emoji.STATUS["fully_qualified"], emoji.STATUS["component"])
    return {
        "-".join(f"{ord(character):X}" for character in sequence if character != "\ufe0f"): _make_readable(entry["en"])
        for sequence, entry in emoji.EMOJI_DATA.items()
        if entry["status"] in kept
    }


def parse_emoji(names: Mapping[str, str]) -> list[Emoji]:
    """Parse every emoji of `names` (codepoints -> CLDR short name), sorted by codepoints."""
    parsed = [_parse(codepoints, names) for codepoints in sorted(names)]
    return _add_defaults(parsed)


def _make_readable(short_name: str) -> str:
    return short_name.strip(":").replace("_", " ").replace("\u2019", "'")


def _parse(codepoints: str, names: Mapping[str, str]) -> Emoji:
    first, *rest = codepoints.split("-")
    tones = [_TONES[part] for part in rest if part in _TONES]
    toneless = "-".join([first, *(part for part in rest if part not in _TONES)])
    toneless = _SPELLINGS.get(toneless, toneless)
    name = names[codepoints]
    if member := MEMBERSHIPS.get(toneless):
        attributes = {member.attribute: member.term}
        caption = _make_family_caption(member.base, member.attribute, member.term, names.get(toneless, name))
        parsed = Emoji(codepoints, name, caption, member.concept, member.base, attributes)
    else:
        base, attributes = _read_person(toneless)
        caption = _make_plain_caption(toneless, names.get(toneless, name), attributes)
        concept = CONCEPTS.get(base) or names.get(base, name)
        parsed = Emoji(codepoints, name, caption, concept, base, attributes)
    return _add_tones(parsed, tones)


def _read_person(toneless: str) -> tuple[str, dict[str, str]]:
    """Return the base codepoints and what the joined signs and the people say: gender, hair and facing."""
    attributes: dict[str, str] = {}
    base = toneless
    if base.endswith(f"-{_JOINER}-{_RIGHT}"):
        base = base.removesuffix(f"-{_JOINER}-{_RIGHT}")
        attributes[DIRECTION] = FACING_RIGHT
    if base.split("-")[-1] in _HAIR and "-" in base:
        attributes[HAIR] = _HAIR[base.split("-")[-1]]
        base = base.rsplit(f"-{_JOINER}-", 1)[0]
    if base.split("-")[-1] in _GENDER_SIGNS and "-" in base:
        base, sign = base.rsplit(f"-{_JOINER}-", 1)
        attributes[GENDER] = _PLURAL[_GENDER_SIGNS[sign]] if base in _COUPLES else _GENDER_SIGNS[sign]
    if base == "1F471":
        base, attributes = _PERSON, {GENDER: "person", **attributes, HAIR: "blond hair"}
    elif base in _OWN_GENDER:
        base, attributes[GENDER] = _OWN_GENDER[base]
    elif any(part in _CHILDREN for part in base.split("-")):
        base = "1F46A"
    elif people := [_PEOPLE[part] for part in base.split("-") if part in _PEOPLE]:
        attributes[GENDER] = people[0] if len(people) == 1 else _TWO_PEOPLE[people[0], people[1]]
        ungendered = "-".join(_PERSON if part in _PEOPLE else part for part in base.split("-"))
        base = _SPELLINGS.get(ungendered, ungendered)
    return base, attributes


def _make_family_caption(base: str, attribute: str, term: str, name: str) -> str:
    if attribute == CAT_FACE:
        return name
    if attribute == CLOCK_TIME:
        return f"{base} showing {term}"
    return f"{term} {base}" if attribute == COLOUR else f"{base} {term}"


def _make_plain_caption(toneless: str, name: str, attributes: Mapping[str, str]) -> str:
    if re.match(r"1F1[EF][0-9A-F]-1F1|1F3F4-E0067", toneless):
        return f"flag of {name}"
    if hair := attributes.get(HAIR):
        return f"{name.split(maxsplit=1)[0]} with {'a ' if hair == _HAIR['1F9B2'] else ''}{hair}"
    if match := re.match(r"(couple with heart|kiss|family) (.+)", name):
        people = re.findall(r"\w+", match[2])
        return f"{match[1]}, {', '.join(people[:-1])} and {people[-1]}" if len(people) > 1 else name
    return re.sub(r"^(man|woman|person) beard$", r"\1 with a beard", name)


def _add_tones(parsed: Emoji, tones: list[str]) -> Emoji:
    if not tones:
        return parsed
    tone = " and ".join(dict.fromkeys(tones))
    joint = ", " if " with " in parsed.caption else " with "
    return replace(parsed, caption=f"{parsed.caption}{joint}{tone}", attributes={**parsed.attributes, SKIN_TONE: tone})


def _add_defaults(parsed: Iterable[Emoji]) -> list[Emoji]:
    """Name what an unmarked drawing shows where its base has marked ones: yellow skin, a person, facing left."""
    parsed = list(parsed)
    bases = {
        attribute: {emoji.base for emoji in parsed if attribute in emoji.attributes}
        for attribute in (SKIN_TONE, GENDER, DIRECTION)
    }

    def complete(emoji: Emoji) -> Emoji:
        person = "two people" if emoji.base in _COUPLES else "person"
        defaults = {SKIN_TONE: YELLOW, GENDER: person, DIRECTION: FACING_LEFT}
        missing = {attribute: term for attribute, term in defaults.items() if emoji.base in bases[attribute]}
        return replace(emoji, attributes={**missing, **emoji.attributes})

    return [complete(emoji) for emoji in parsed]
