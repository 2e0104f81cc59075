"""Folders that are looked at again and again: what is new counts once it has stopped changing."""

import os
from itertools import count, islice

from factories import draw_noise, encode_picture
from worlds.album import add, build, draw_album

from compodiff.index import INSIDE
from compodiff.index.comparing import list_changed
from compodiff.index.sources import Sources
from compodiff.index.watching import watch_pictures


class Stopped(Exception):
    """The watch was asked to sleep longer than the test lasts."""


def _watch(folder, *between):
    """Watch while `between` are called, one at each sleep; return names of what settled, and what was told."""
    told, todo = [], iter(between)

    def sleep(_seconds):
        try:
            next(todo)()
        except StopIteration as error:
            raise Stopped from error

    seen = []
    try:
        for _, settled in watch_pictures(Sources(folder), 0, told.append, sleep):
            seen.append([path.name for path in settled])
    except Stopped:
        return seen, told


def _nothing():
    pass


def test_what_is_being_copied_counts_when_it_has_stopped_growing(tmp_path):
    whole, path = encode_picture(draw_noise()), tmp_path / "b.png"
    (tmp_path / "a.png").write_bytes(whole)
    grow = [lambda end=end: path.write_bytes(whole[:end]) for end in (20, 40, len(whole))]
    assert _watch(tmp_path, _nothing, *grow, _nothing, _nothing, _nothing) == ([["a.png"], ["b.png"]], [])


def test_what_changes_or_comes_back_counts_again_and_what_goes_does_not(tmp_path):
    path = tmp_path / "a.png"
    steps = [lambda: path.write_bytes(b"x"), _nothing, path.unlink, _nothing, lambda: path.write_bytes(b"yy"), _nothing]
    path.write_bytes(b"first")
    assert _watch(tmp_path, *steps)[0] == [["a.png"], ["a.png"]]


def test_a_folder_that_is_away_is_waited_for_and_said_once(tmp_path):
    album, away = tmp_path / "album", tmp_path / "away"
    album.mkdir()
    (album / "a.png").touch()
    steps = [_nothing, lambda: album.rename(away), _nothing, _nothing, lambda: away.rename(album), _nothing, _nothing]
    seen, told = _watch(album, *steps)
    assert seen == [["a.png"]]  # it is as it was
    assert len(told) == 1
    assert "cannot read the folder" in told[0]


def test_a_look_that_takes_long_is_followed_by_a_longer_pause(tmp_path, monkeypatch):
    clock = count(0, 3.0)
    monkeypatch.setattr("compodiff.index.watching.time.monotonic", lambda: next(clock))
    pauses = []
    (tmp_path / "a.png").touch()
    list(islice(watch_pictures(Sources(tmp_path), 5, _nothing, pauses.append), 1))
    assert pauses == [30.0]


def test_only_what_the_index_does_not_know_as_it_is_is_taken_in(tmp_path, encoder):
    album = draw_album(tmp_path / "album")
    for path in Sources(album).list_pictures().files:
        os.utime(path, (1, 1))
    build(album, encoder)
    changed, new, broken = album / "a" / "1.png", album / "new.png", album / "broken.png"
    draw_noise(1, 64, 64).save(changed)
    draw_noise(2, 64, 64).save(new)
    broken.write_bytes(b"\x89PNG\r\n\x1a\n half")
    os.utime(broken, (2, 2))
    files = Sources(album).list_pictures().files
    assert list_changed(album / INSIDE, album, files) == [broken, new, changed]
    add(album, encoder, broken, new, changed)
    assert broken not in list_changed(album / INSIDE, album, files)
