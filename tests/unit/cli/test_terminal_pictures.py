"""Pictures for a terminal, read back by what the protocols say, and the terminal asked over a real pty."""

import base64
import io
import os
import pty
import re
import subprocess
import sys

import numpy as np
import pytest
from factories import draw_patches
from PIL import Image

from compodiff.cli.search import _Shown
from compodiff.cli.terminal_pictures import encode_iterm, encode_kitty, encode_sixel, find_protocol
from compodiff.errors import InputInvalid
from compodiff.search.ranking import Ranking

PICTURE = draw_patches(3, 150, 100).convert("RGB")
_SHOWN_BY = ("KITTY_WINDOW_ID", "TERM_PROGRAM", "LC_TERMINAL", "TMUX", "STY")


def _read_png(content: str) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(content))).convert("RGB"))


def test_kitty_gets_the_picture_in_chunks_of_which_the_last_says_so():
    commands = re.findall(r"\x1b_G([^;]*);([^\x1b]*)\x1b\\", encode_kitty(PICTURE))
    assert len(commands) > 2
    assert commands[0][0] == "a=T,f=100,q=2,m=1"
    assert [head for head, _ in commands[1:]] == ["m=1"] * (len(commands) - 2) + ["m=0"]
    assert all(len(content) <= 4096 for _, content in commands)
    np.testing.assert_array_equal(_read_png("".join(content for _, content in commands)), np.asarray(PICTURE))


def test_iterm_gets_the_picture_at_its_own_size():
    found = re.fullmatch(r"\x1b\]1337;File=inline=1;width=150px;height=100px:(.*)\x07", encode_iterm(PICTURE))
    assert found
    np.testing.assert_array_equal(_read_png(found[1]), np.asarray(PICTURE))


@pytest.mark.parametrize("size", [(150, 100), (1, 1), (7, 13)])
def test_sixels_are_the_picture_in_255_colours(size):
    picture = PICTURE.resize(size)
    drawn = _read_sixels(encode_sixel(picture))
    expected = np.asarray(picture.quantize(255).convert("RGB"), int)
    assert drawn.shape == expected.shape
    assert np.abs(drawn - expected).max() <= 3  # colours are per cent


def _read_sixels(content: str) -> np.ndarray:
    found = re.fullmatch(r'\x1bPq"1;1;(\d+);(\d+)(.*)\x1b\\', content)
    assert found
    pixels = np.full((int(found[2]), int(found[1]), 3), -1)
    palette: dict[int, np.ndarray] = {}
    x = y = colour = 0
    for token in re.finditer(r"#(\d+);2;(\d+);(\d+);(\d+)|#(\d+)|!(\d+)([?-~])|([?-~])|([$-])", found[3]):
        if token[1]:
            palette[int(token[1])] = np.array([int(token[place]) * 255 // 100 for place in (2, 3, 4)])
        elif token[5]:
            colour = int(token[5])
        elif token[9]:
            x, y = 0, y + (6 if token[9] == "-" else 0)
        else:
            count, sign = int(token[6] or 1), token[7] or token[8]
            for row in range(6):
                if (ord(sign) - 63) >> row & 1:
                    pixels[y + row, x : x + count] = palette[colour]
            x += count
    assert pixels.min() >= 0, "a pixel was not drawn"
    return pixels


def test_where_nobody_sits_nothing_is_shown_unless_it_is_asked_for(monkeypatch):
    monkeypatch.setenv("KITTY_WINDOW_ID", "1")
    assert find_protocol("auto") is None  # pytest has taken the output
    assert find_protocol("sixel") == "sixel"
    with pytest.raises(InputInvalid, match="--pictures is png; take one of auto, never, kitty, iterm, sixel"):
        find_protocol("png")


@pytest.mark.parametrize(
    ("says", "answer", "expected"),
    [
        ({"KITTY_WINDOW_ID": "1"}, b"", "kitty"),
        ({"TERM_PROGRAM": "iTerm.app"}, b"", "iterm"),
        ({}, b"\x1b[?62;4;22c", "sixel"),
        ({}, b"\x1b[?62;14;22c", "None"),
        ({"KITTY_WINDOW_ID": "1", "TMUX": "x"}, b"", "None"),  # does not answer
    ],
)
def test_a_terminal_says_what_it_can(says, answer, expected):
    ours, theirs = pty.openpty()
    environment = {name: value for name, value in os.environ.items() if name not in _SHOWN_BY}
    code = "from compodiff.cli.terminal_pictures import find_protocol; print(find_protocol('auto'))"
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdin=theirs, stdout=theirs, env=environment | says | {"TERM": "xterm-256color"}
    )
    os.close(theirs)
    said = b""
    try:
        while True:
            said += os.read(ours, 1024)
            if said.endswith(b"\x1b[c") and answer:
                os.write(ours, answer)
    except OSError:  # the other end is closed
        assert process.wait(20) == 0
    os.close(ours)
    assert said.decode().replace("\x1b[c", "").split()[-1] == expected


def test_a_picture_that_cannot_be_read_ends_no_search_that_did_not_ask_for_it(capsys):
    answer = Ranking((), np.zeros(2, np.float32), None, None, {})  # without pictures
    _Shown(None, "sixel", is_opened=False, is_asked_for=False, attribution="").show(answer.read_pictures)
    assert capsys.readouterr().err.startswith("note: not drawn: ")
    with pytest.raises(InputInvalid):
        _Shown(None, "sixel", is_opened=False, is_asked_for=True, attribution="").show(answer.read_pictures)
