from collections import Counter

import pytest

from compodiff.catalogue.names import Emoji, name_codepoints, parse_emoji


@pytest.fixture(scope="module")
def emoji() -> dict[str, Emoji]:
    return {each.codepoints: each for each in parse_emoji(name_codepoints())}


@pytest.mark.parametrize(
    ("codepoints", "caption", "concept", "attributes"),
    [
        (
            "1F469-1F3FD-200D-1F52C",
            "woman scientist with medium skin tone",
            "scientist",
            {"gender": "woman", "skin_tone": "medium skin tone"},
        ),
        ("1F9D1-200D-1F33E", "farmer", "farmer", {"gender": "person", "skin_tone": "yellow skin tone"}),
        (
            "1F3C3-200D-2640-200D-27A1",
            "woman running facing right",
            "person running",
            {"gender": "woman", "skin_tone": "yellow skin tone", "direction": "facing right"},
        ),
        (
            "1F468-1F3FE-200D-1F9B0",
            "man with red hair, medium-dark skin tone",
            "person",
            {"gender": "man", "skin_tone": "medium-dark skin tone", "hair": "red hair"},
        ),
        (
            "1F469-1F3FB-200D-1F91D-200D-1F468-1F3FF",
            "woman and man holding hands with light skin tone and dark skin tone",
            "people holding hands",
            {"gender": "woman and man", "skin_tone": "light skin tone and dark skin tone"},
        ),
        (
            "1F468-1F3FB-200D-2764-200D-1F468-1F3FB",
            "couple with heart, man and man, light skin tone",
            "couple with heart",
            {"gender": "two men", "skin_tone": "light skin tone"},
        ),
        ("1F46F-200D-2640", "women with bunny ears", "people with bunny ears", {"gender": "two women"}),
        ("2764", "red heart", "heart", {"colour": "red"}),
        ("1F4D8", "blue closed book", "closed book", {"colour": "blue"}),
        ("1F55E", "clock face showing three-thirty", "clock face three-thirty", {"clock_time": "three-thirty"}),
        ("1F63F", "crying cat", "crying face", {"cat_face": "cat"}),
        (
            "1F448-1F3FF",
            "backhand index finger pointing left with dark skin tone",
            "pointing hand",
            {"direction": "pointing left", "skin_tone": "dark skin tone"},
        ),
        ("1F1EB-1F1F7", "flag of France", "France", {}),
        ("1F468-200D-1F469-200D-1F467", "family, man, woman and girl", "family", {}),
        ("1F34B", "lemon", "lemon", {}),
    ],
)
def test_parses(
    emoji: dict[str, Emoji], codepoints: str, caption: str, concept: str, attributes: dict[str, str]
) -> None:
    parsed = emoji[codepoints]
    shown = {key: term for key, term in parsed.attributes.items() if key in attributes or key != "skin_tone"}
    assert (parsed.caption, parsed.concept, shown) == (caption, concept, attributes)


def test_every_emoji_reads_differently_and_in_words(emoji: dict[str, Emoji]) -> None:
    repeated = [caption for caption, times in Counter(each.caption for each in emoji.values()).items() if times > 1]
    assert repeated == []
    assert not [each.caption for each in emoji.values() if "_" in each.caption or ":" in each.caption]


def test_what_a_caption_can_name_it_names(emoji: dict[str, Emoji]) -> None:
    named = ("hair", "colour", "clock_time")
    silent = [
        each
        for each in emoji.values()
        for attribute in named
        if attribute in each.attributes and each.attributes[attribute] not in each.caption
    ]
    assert silent == []


def test_taking_the_tones_away_leaves_the_same_drawing(emoji: dict[str, Emoji]) -> None:
    toned = {f"1F3F{digit}" for digit in "BCDEF"}
    for each in emoji.values():
        parts = each.codepoints.split("-")
        plain = emoji.get("-".join([parts[0], *(part for part in parts[1:] if part not in toned)]))
        if plain is not None:
            assert (plain.base, plain.concept) == (each.base, each.concept)
