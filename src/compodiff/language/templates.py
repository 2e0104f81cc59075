"""How people ask for an edit: our own relative captions for replace, add, remove and change of attribute.

{reference} and {target} are the terms with the article they need ("a dog", "snow", "boats"); for a change of attribute
they are bare adjectives, and {noun} is what they describe.
"""

REPLACE, ADD, REMOVE, ATTRIBUTE = "replace", "add", "remove", "attribute"

TEMPLATES: dict[str, tuple[str, ...]] = {
    REPLACE: (
        "{target} instead of {reference}",
        "replace {reference} with {target}",
        "swap {reference} for {target}",
        "change {reference} to {target}",
        "turn {reference} into {target}",
        "the same, but with {target} instead of {reference}",
        "not {reference}, {target}",
        "I want {target} where there is {reference}",
        "show {target} rather than {reference}",
        "{target} in place of {reference}",
        "has {target} and no {reference_bare}",
        "put {target} where you see {reference}",
        "trade {reference} for {target}",
        "what if it were {target} and not {reference}?",
        "as it is, except for {target} replacing {reference}",
        "make {reference} become {target}",
        "{reference} out, {target} in",
        "exchange {reference} and use {target}",
        "same scene with {target} in the role of {reference}",
        "{target}, please, instead of {reference}",
    ),
    ADD: (
        "add {target}",
        "with {target}",
        "and {target} too",
        "put {target} in",
        "the same with {target} in it",
        "I would like to see {target} as well",
        "there should also be {target}",
        "include {target}",
        "as before, but {target} joins in",
        "bring in {target}",
        "now with {target}",
        "place {target} somewhere in it",
        "{target} is missing here, add it",
        "let there be {target} besides",
        "same picture plus {target}",
    ),
    REMOVE: (
        "remove {reference}",
        "without {reference}",
        "no {reference_bare}",
        "take {reference} away",
        "the same but without {reference}",
        "leave {reference} out",
        "get rid of {reference}",
        "I do not want {reference} in it",
        "erase {reference}",
        "there should be no {reference_bare}",
        "drop {reference} and keep the rest",
        "as it is, minus {reference}",
        "cut out {reference}",
        "everything except {reference}",
        "clear {reference} from the picture",
    ),
    ATTRIBUTE: (
        "make the {noun} {target}",
        "{target} {noun} instead of {reference}",
        "the {noun} should be {target}, not {reference}",
        "let it be {target}, no longer {reference}",
        "turn the {reference} {noun} {target}",
        "but with {target} {noun}",
        "the same with the {noun} {target}",
        "{target} rather than {reference} {noun}",
        "I prefer the {noun} {target}",
        "give me {target} {noun} here",
        "switch the {noun} from {reference} to {target}",
        "let the {reference} {noun} become {target}",
        "what would it look like with {target} {noun}?",
        "no longer {reference}: a change to {target} {noun}",
        "replace the {reference} {noun} by {target}",
    ),
}

_SILENT_H = ("hour", "honest", "honou", "honor", "heir")
_LIKE_YOU = ("uni", "use", "usu", "uti", "euro", "ewe", "ukulele", "one", "once", "uranium")
_SPELT_UN = ("unin", "unim", "unid")  # "uninhabited" begins with "un", not with "uni"


def choose_article(word: str) -> str:
    """Return the indefinite article that `word` takes by its sound, as far as spelling tells."""
    word = word.lower()
    if word.startswith(_LIKE_YOU) and not word.startswith(_SPELT_UN):
        return "a"
    return "an" if word.startswith(("a", "e", "i", "o", "u", *_SILENT_H)) else "a"
