"""Pictures in a terminal that can show them: by kitty's protocol, iTerm2's, or sixels.

A terminal is asked only where a person sits at it; what goes to a file or another program holds no picture.
"""

import base64
import io
import os
import select
import shutil
import sys
import time
from typing import TYPE_CHECKING, Literal, get_args

from compodiff.errors import InputInvalid

if TYPE_CHECKING:
    from PIL import Image

Protocol = Literal["kitty", "iterm", "sixel"]
EDGE = 120  # pixels of a picture
_CELL = 8  # pixels that a character is wide at least
_CHUNK = 4096  # characters of one command to kitty
_ASK, _SIXEL = "\x1b[c", "4"  # "what are you?", and what a terminal with sixels has in its answer
_PATIENCE = 0.2  # seconds
_COLOURS, _BAND = 255, 6  # of a sixel picture, and rows of one band of it


def find_protocol(choice: str) -> Protocol | None:
    """Return how pictures are shown here: as `choice` says, or, of "auto", as the terminal can; None for not at all.

    Raises:
        InputInvalid: there is no such choice.
    """
    protocols: tuple[Protocol, ...] = get_args(Protocol)
    if choice in ("auto", "never"):
        return _detect() if choice == "auto" and sys.stdout.isatty() else None
    for protocol in protocols:
        if choice == protocol:
            return protocol
    raise InputInvalid(f"--pictures is {choice}; take one of auto, never, {', '.join(protocols)}")


def _detect() -> Protocol | None:
    says = os.environ.get
    if not says("TMUX") and not says("STY"):  # a multiplexer hides the terminal, and keeps its variables
        if says("KITTY_WINDOW_ID") or says("TERM") in ("xterm-kitty", "xterm-ghostty"):
            return "kitty"
        if says("TERM_PROGRAM") in ("iTerm.app", "WezTerm") or says("LC_TERMINAL") == "iTerm2":
            return "iterm"
    return "sixel" if _SIXEL in _ask_attributes() else None


def _ask_attributes() -> list[str]:
    """Return the attributes of the terminal (DA1); none where it does not answer at once."""
    if not (sys.stdin.isatty() and sys.stdout.isatty()) or os.environ.get("TERM", "dumb") == "dumb":
        return []
    import termios
    import tty

    terminal = sys.stdin.fileno()
    before = termios.tcgetattr(terminal)
    answer, end = b"", time.monotonic() + _PATIENCE
    try:
        tty.setcbreak(terminal, termios.TCSANOW)
        sys.stdout.write(_ASK)
        sys.stdout.flush()
        while not answer.endswith(b"c") and select.select([terminal], [], [], max(0.0, end - time.monotonic()))[0]:
            answer += os.read(terminal, 64)
    finally:
        termios.tcsetattr(terminal, termios.TCSANOW, before)
    return answer.decode("ascii", "replace").removeprefix("\x1b[?").removesuffix("c").split(";")


def count_columns(edge: int) -> int:
    """Return how many pictures of `edge` pixels stand beside each other in this terminal."""
    return max(1, shutil.get_terminal_size().columns * _CELL // (edge + _CELL))


def print_picture(picture: "Image.Image", protocol: Protocol) -> None:
    """Write a picture to the terminal."""
    encode = {"kitty": encode_kitty, "iterm": encode_iterm, "sixel": encode_sixel}[protocol]
    sys.stdout.write(encode(picture) + "\n")
    sys.stdout.flush()


def encode_kitty(picture: "Image.Image") -> str:
    """Return the commands of kitty's graphics protocol: the PNG in chunks, all but the last with m=1."""
    content = _encode_png(picture)
    chunks = [content[at : at + _CHUNK] for at in range(0, len(content), _CHUNK)]
    heads = ["a=T,f=100,q=2,", *[""] * (len(chunks) - 1)]
    return "".join(
        f"\x1b_G{head}m={int(place < len(chunks) - 1)};{chunk}\x1b\\"
        for place, (head, chunk) in enumerate(zip(heads, chunks, strict=True))
    )


def encode_iterm(picture: "Image.Image") -> str:
    """Return the command of iTerm2's inline images."""
    return f"\x1b]1337;File=inline=1;width={picture.width}px;height={picture.height}px:{_encode_png(picture)}\x07"


def encode_sixel(picture: "Image.Image") -> str:
    """Return a picture as sixels: bands of six rows, each colour of a band drawn over the others."""
    import numpy as np

    indexed = picture.convert("RGB").quantize(_COLOURS)
    places = np.asarray(indexed)  # (H, W), of the palette
    palette = np.asarray(indexed.getpalette(), np.int64).reshape(-1, 3)
    parts = [f'\x1bPq"1;1;{picture.width};{picture.height}']
    parts += [
        f"#{number};2;{';'.join(str(value * 100 // 255) for value in colour)}" for number, colour in enumerate(palette)
    ]
    bits = 1 << np.arange(_BAND)[:, None]
    for top in range(0, len(places), _BAND):
        band = places[top : top + _BAND]
        for number in np.unique(band):
            sixels = ((band == number) * bits[: len(band)]).sum(0)  # (W,)
            parts.append(f"#{number}{_shorten(sixels.tolist())}$")
        parts.append("-")
    return "".join([*parts, "\x1b\\"])


def _shorten(sixels: list[int]) -> str:
    """Write a row of sixels; what repeats is said once, with its count."""
    from itertools import groupby

    runs = ((chr(63 + value), sum(1 for _ in same)) for value, same in groupby(sixels))
    return "".join(f"!{count}{sign}" if count > 3 else sign * count for sign, count in runs)


def _encode_png(picture: "Image.Image") -> str:
    stream = io.BytesIO()
    picture.save(stream, "PNG")
    return base64.b64encode(stream.getvalue()).decode()
