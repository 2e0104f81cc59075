"""Emoji that are one drawing in several colours, directions or times, which their codepoints do not show.

Everything else about an emoji follows from its codepoints (names.py). Members of a concept stay in one split.
"""

from dataclasses import dataclass

COLOUR, DIRECTION, CLOCK_TIME, CAT_FACE = "colour", "direction", "clock_time", "cat_face"


@dataclass(frozen=True)
class Membership:
    """What a family says about one emoji."""

    concept: str
    base: str
    attribute: str
    term: str


@dataclass(frozen=True)
class _EmojiGroup:
    """Drawings called `base` that differ in `attribute` only: codepoints -> the attribute's term."""

    concept: str
    base: str
    attribute: str
    members: dict[str, str]


_COLOURED = (
    _EmojiGroup("heart", "heart", COLOUR, {
        "2764": "red", "1F9E1": "orange", "1F49B": "yellow", "1F49A": "green", "1F499": "blue", "1FA75": "light blue",
        "1F49C": "purple", "1F90E": "brown", "1F5A4": "black", "1FA76": "grey", "1F90D": "white", "1FA77": "pink"}),
    _EmojiGroup("circle", "circle", COLOUR, {
        "1F534": "red", "1F7E0": "orange", "1F7E1": "yellow", "1F7E2": "green", "1F535": "blue", "1F7E3": "purple",
        "1F7E4": "brown", "26AB": "black", "26AA": "white"}),
    _EmojiGroup("square", "large square", COLOUR, {
        "1F7E5": "red", "1F7E7": "orange", "1F7E8": "yellow", "1F7E9": "green", "1F7E6": "blue", "1F7EA": "purple",
        "1F7EB": "brown", "2B1B": "black", "2B1C": "white"}),
    _EmojiGroup("square", "medium square", COLOUR, {"25FC": "black", "25FB": "white"}),
    _EmojiGroup("square", "medium-small square", COLOUR, {"25FE": "black", "25FD": "white"}),
    _EmojiGroup("square", "small square", COLOUR, {"25AA": "black", "25AB": "white"}),
    _EmojiGroup("square button", "square button", COLOUR, {"1F532": "black", "1F533": "white"}),
    _EmojiGroup("diamond", "large diamond", COLOUR, {"1F536": "orange", "1F537": "blue"}),
    _EmojiGroup("diamond", "small diamond", COLOUR, {"1F538": "orange", "1F539": "blue"}),
    _EmojiGroup("closed book", "closed book", COLOUR, {
        "1F4D5": "red", "1F4D7": "green", "1F4D8": "blue", "1F4D9": "orange"}),
    _EmojiGroup("apple", "apple", COLOUR, {"1F34E": "red", "1F34F": "green"}),
    _EmojiGroup("plain flag", "plain flag", COLOUR, {"1F3F4": "black", "1F3F3": "white"}),
    _EmojiGroup("question mark", "question mark", COLOUR, {"2753": "red", "2754": "white"}),
    _EmojiGroup("exclamation mark", "exclamation mark", COLOUR, {"2757": "red", "2755": "white"}),
)  # fmt: skip

_DIRECTED = (
    _EmojiGroup("arrow", "arrow", DIRECTION, {
        "2B06": "pointing up", "2197": "pointing up and right", "27A1": "pointing right",
        "2198": "pointing down and right", "2B07": "pointing down", "2199": "pointing down and left",
        "2B05": "pointing left", "2196": "pointing up and left", "2195": "pointing up and down",
        "2194": "pointing left and right"}),
    _EmojiGroup("arrow", "right arrow", DIRECTION, {"2934": "curving up", "2935": "curving down"}),
    _EmojiGroup("arrow", "hooked arrow", DIRECTION, {"21A9": "curving left", "21AA": "curving right"}),
    _EmojiGroup("pointing hand", "backhand index finger", DIRECTION, {
        "1F446": "pointing up", "1F449": "pointing right", "1F447": "pointing down", "1F448": "pointing left"}),
    _EmojiGroup("open hand", "open hand", DIRECTION, {
        "1FAF1": "facing right", "1FAF2": "facing left", "1FAF3": "palm down", "1FAF4": "palm up"}),
    _EmojiGroup("pushing hand", "pushing hand", DIRECTION, {"1FAF8": "facing right", "1FAF7": "facing left"}),
    _EmojiGroup("fist", "fist", DIRECTION, {"1F91C": "facing right", "1F91B": "facing left"}),
    _EmojiGroup("thumb", "thumb", DIRECTION, {"1F44D": "pointing up", "1F44E": "pointing down"}),
    _EmojiGroup("red triangle", "red triangle", DIRECTION, {"1F53A": "pointing up", "1F53B": "pointing down"}),
    _EmojiGroup("triangle button", "triangle button", DIRECTION, {
        "25B6": "pointing right", "25C0": "pointing left", "1F53C": "pointing up", "1F53D": "pointing down"}),
    _EmojiGroup("double triangle button", "double triangle button", DIRECTION, {
        "23E9": "pointing right", "23EA": "pointing left", "23EB": "pointing up", "23EC": "pointing down"}),
    _EmojiGroup("track button", "track button", DIRECTION, {"23ED": "pointing right", "23EE": "pointing left"}),
    _EmojiGroup("magnifying glass", "magnifying glass", DIRECTION, {"1F50D": "tilted left", "1F50E": "tilted right"}),
)  # fmt: skip

_HOURS = ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"]
# Each clock face is a concept of its own: one concept for all would put every time into a single split.
_CLOCKS = tuple(
    _EmojiGroup(f"clock face {time}", "clock face", CLOCK_TIME, {f"{first + hour:X}": time})
    for first, minutes in ((0x1F550, " o'clock"), (0x1F55C, "-thirty"))
    for hour, time in enumerate(name + minutes for name in _HOURS)
)

_CAT_FACES = {
    "grinning face with big eyes": ("1F603", "1F63A"),
    "grinning face with smiling eyes": ("1F604", "1F638"),
    "face with tears of joy": ("1F602", "1F639"),
    "smiling face with heart-eyes": ("1F60D", "1F63B"),
    "smirking face": ("1F60F", "1F63C"),
    "kissing face with closed eyes": ("1F61A", "1F63D"),
    "weary face": ("1F629", "1F640"),
    "crying face": ("1F622", "1F63F"),
    "pouting face": ("1F621", "1F63E"),
}
SMILEY, CAT = "smiley", "cat"
_CATS = tuple(_EmojiGroup(name, name, CAT_FACE, {face: SMILEY, cat: CAT}) for name, (face, cat) in _CAT_FACES.items())

MEMBERSHIPS: dict[str, Membership] = {
    codepoints: Membership(family.concept, family.base, family.attribute, term)
    for family in (*_COLOURED, *_DIRECTED, *_CLOCKS, *_CATS)
    for codepoints, term in family.members.items()
}

# Look-alikes of a family that are not one drawing with it: they share its split and have no relation with it.
CONCEPTS: dict[str, str] = {
    **dict.fromkeys(("1F503", "1F504", "1F519", "1F51A", "1F51B", "1F51C", "1F51D"), "arrow"),
    **dict.fromkeys(("261D", "1FAF5"), "pointing hand"),
    **dict.fromkeys(("1F57A", "1F483"), "person dancing"),
    "2B55": "circle",
    "2763": "heart",
    "1F46A": "family",
}
