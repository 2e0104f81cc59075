"""What people write of edits of a whole picture, there and back. All wordings are our own."""

from collections.abc import Iterable

MIRROR, UPSIDE_DOWN, TURN_LEFT, TURN_RIGHT = "mirror", "upside down", "turn left", "turn right"
GREY, COLOURS, TINT, UNTINT, NEGATIVE, POSITIVE = "grey", "colours", "tint", "untint", "negative", "positive"
BLUR, SHARPEN, DARKEN, BRIGHTEN = "blur", "sharpen", "darken", "brighten"
CLOSER, FARTHER, GROUND = "closer", "farther", "ground"

# What undoes each edit that can be made.
BACK = {
    MIRROR: MIRROR,
    UPSIDE_DOWN: UPSIDE_DOWN,
    TURN_LEFT: TURN_RIGHT,
    TURN_RIGHT: TURN_LEFT,
    GREY: COLOURS,
    TINT: UNTINT,
    NEGATIVE: POSITIVE,
    BLUR: SHARPEN,
    DARKEN: BRIGHTEN,
    BRIGHTEN: DARKEN,
    CLOSER: FARTHER,
    FARTHER: CLOSER,
    GROUND: GROUND,
}

# {colour} is what a tint or a ground has, or the tint that goes.
_TEMPLATES: dict[str, tuple[str, ...]] = {
    MIRROR: (
        "mirrored",
        "a mirror image",
        "as in a mirror",
        "mirror it",
        "flipped left to right",
        "flip it horizontally",
        "facing the other way",
        "from the other side",
        "with left and right swapped",
        "the mirror image of this",
    ),
    UPSIDE_DOWN: (
        "upside down",
        "turn it upside down",
        "standing on its head",
        "turned by half",
        "rotated by 180 degrees",
        "the wrong way up",
        "the other way up",
        "the same picture upside down",
    ),
    TURN_LEFT: (
        "turned to the left",
        "rotated to the left",
        "rotated by 90 degrees to the left",
        "a quarter turn to the left",
        "rotate it anticlockwise",
        "turned counterclockwise",
        "lying on its left side",
    ),
    TURN_RIGHT: (
        "turned to the right",
        "rotated to the right",
        "rotated by 90 degrees to the right",
        "a quarter turn to the right",
        "rotate it clockwise",
        "turned clockwise",
        "lying on its right side",
    ),
    GREY: (
        "in black and white",
        "black and white",
        "grey",
        "in shades of grey",
        "without colour",
        "as a black and white photograph",
        "take the colours away",
        "greyscale",
        "a monochrome version",
        "make it gray",
    ),
    COLOURS: (
        "in colour",
        "with colours",
        "not in black and white",
        "as a colour photograph",
        "colourised",
        "give it its colours back",
        "a colour version",
        "in color",
    ),
    TINT: (
        "tinted {colour}",
        "the same, but {colour}",
        "in {colour}",
        "all in {colour}",
        "in {colour} light",
        "with a {colour} tint",
        "make it {colour}",
        "through a {colour} filter",
        "in shades of {colour}",
        "{colour}",
    ),
    UNTINT: (
        "without the {colour} tint",
        "not {colour}",
        "in its natural colours",
        "no longer {colour}",
        "in white light instead of {colour}",
        "without the {colour} filter",
        "the {colour} taken away",
    ),
    NEGATIVE: (
        "as a negative",
        "the negative",
        "in negative colours",
        "with inverted colours",
        "invert the colours",
        "every colour the opposite",
        "a photographic negative",
    ),
    POSITIVE: (
        "as a positive",
        "not as a negative",
        "no longer a negative",
        "develop the negative",
        "with the right colours",
        "with the colours inverted back",
    ),
    BLUR: (
        "blurrier",
        "blurred",
        "blurry",
        "out of focus",
        "less sharp",
        "make it blurry",
        "a blurred version",
        "soft and unsharp",
    ),
    SHARPEN: (
        "sharper",
        "in focus",
        "not blurred",
        "less blurry",
        "make it sharp",
        "with clear details",
        "a sharp version",
    ),
    DARKEN: (
        "darker",
        "make it darker",
        "with less light",
        "a darker version",
        "less bright",
        "dim the light",
        "underexposed",
        "in the dark",
    ),
    BRIGHTEN: (
        "brighter",
        "lighter",
        "make it brighter",
        "with more light",
        "a brighter version",
        "less dark",
        "overexposed",
        "in bright light",
    ),
    CLOSER: (
        "closer",
        "from closer",
        "zoomed in",
        "zoom in",
        "cropped",
        "cropped to the middle",
        "a close-up",
        "larger",
        "bigger in the picture",
        "only the middle of it",
    ),
    FARTHER: (
        "farther away",
        "from farther away",
        "zoomed out",
        "zoom out",
        "smaller",
        "smaller in the picture",
        "from a greater distance",
        "with more around it",
    ),
    GROUND: (
        "on a {colour} background",
        "on a {colour} ground",
        "in front of a {colour} background",
        "before {colour}",
        "with a {colour} background",
        "make the background {colour}",
        "change the background to {colour}",
        "the same on {colour}",
        "with {colour} behind it",
    ),
}
_SHOWN = {
    MIRROR: "mirrored",
    UPSIDE_DOWN: "upside down",
    TURN_LEFT: "turned to the left",
    TURN_RIGHT: "turned to the right",
    GREY: "in black and white",
    TINT: "tinted {colour}",
    NEGATIVE: "as a negative",
    BLUR: "out of focus",
    DARKEN: "in the dark",
    BRIGHTEN: "in bright light",
    CLOSER: "from closer",
    FARTHER: "from farther away",
    GROUND: "on a {colour} background",
}


def list_wordings(relation: str, colour: str = "") -> list[str]:
    """Return every way we know to ask for an edit, or to undo one, in a fixed order."""
    return [template.format(colour=colour) for template in _TEMPLATES[relation]]


# Not the colour's name alone: beside it "a red car" would name nothing either.
_BARELY = ("the same, but {colour}", "all in {colour}", "make it {colour}", "not {colour}", "no longer {colour}")


def list_all_wordings(colours: Iterable[str]) -> list[str]:
    """Return every way we know to ask for an edit of a whole picture, without a colour's name.

    Those that say little but a colour are there with each of `colours` as well.
    """
    wordings = [wording for relation in _TEMPLATES for wording in list_wordings(relation)]
    wordings += [template.format(colour=colour) for template in _BARELY for colour in colours]
    return list(dict.fromkeys(" ".join(wording.split()) for wording in wordings))


def describe_edited(relation: str, colour: str = "") -> str:
    """Say what an edited picture is, such as "in black and white": what comes behind a comma in its caption."""
    return _SHOWN[relation].format(colour=colour)
