"""Places where something of somebody's lies, at which a command may be told to write."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from compodiff.storage.ownership import mark_folder

# What commands put beside an output NAME, or might: somebody may have files of these names.
BESIDE = ("{0}.parts", "{0}.work", "{0}.checkpoint", "{0}.gallery.npz", ".{0}.work", ".{0}.99999.partial", "{0}.bak")


@dataclass(frozen=True)
class Place:
    """Where a command is told to write, and whether it must refuse."""

    path: Path
    refused: bool = True


def documents(base: Path) -> Place:
    (base / "docs" / "sub").mkdir(parents=True)
    (base / "docs" / "letter.txt").write_text("dear")
    (base / "docs" / "sub" / "photo.jpg").write_bytes(b"photo")
    return Place(base / "docs")


def parent_of_documents(base: Path) -> Place:
    documents(base)
    return Place(base)


def hidden_only(base: Path) -> Place:
    (base / "clone" / ".git").mkdir(parents=True)
    (base / "clone" / ".git" / "HEAD").write_text("ref: refs/heads/main")
    return Place(base / "clone")


def empty_folder_inside(base: Path) -> Place:
    (base / "album" / "to sort").mkdir(parents=True)
    return Place(base / "album")


def names_like_ours(base: Path) -> Place:
    folder = base / "extension"
    folder.mkdir()
    for name in ("manifest.json", "fingerprint.json", "config.json", "report.json", "tokenizer_config.json"):
        (folder / name).write_text('{"mine": 1, "cleaned": 1, "files": {}, "kind": "index"}')
    (folder / "README.md").write_text("---\npretty_name: mine")
    (folder / "model.safetensors").write_bytes(b"weights of mine")
    return Place(folder)


def ours_of_another_kind(base: Path) -> Place:
    folder = base / "other"
    folder.mkdir()
    (folder / "result").write_text("of hours")
    mark_folder(folder, "result of another command")
    return Place(folder)


def broken_marker(base: Path) -> Place:
    place = documents(base)
    (place.path / ".compodiff.json").write_text('{"kind": "index"')
    return place


def somebodys_file(base: Path) -> Place:
    (base / "letter.html").write_text("<p>dear")
    return Place(base / "letter.html")


def below_a_file(base: Path) -> Place:
    return Place(somebodys_file(base).path / "out")


def link_to_documents(base: Path) -> Place:
    (base / "link").symlink_to(documents(base).path)
    return Place(base / "link")


def link_to_a_file(base: Path) -> Place:
    (base / "link").symlink_to(somebodys_file(base).path)
    return Place(base / "link")


def link_to_itself(base: Path) -> Place:
    (base / "loop").symlink_to(base / "loop")
    return Place(base / "loop")


def device(base: Path) -> Place:
    return Place(Path(os.devnull))


def fifo(base: Path) -> Place:
    os.mkfifo(base / "fifo")
    return Place(base / "fifo")


def beside(base: Path) -> Place:
    """Files and folders of names that work folders have; what is named itself is not there."""
    for number, name in enumerate(BESIDE):
        path = base / name.format("out")
        if number % 2:
            path.write_bytes(b"mine")
        else:
            path.mkdir()
            (path / "letter.txt").write_text("dear")
    return Place(base / "out", refused=False)


PLACES: tuple[Callable[[Path], Place], ...] = (
    documents,
    parent_of_documents,
    hidden_only,
    empty_folder_inside,
    names_like_ours,
    ours_of_another_kind,
    broken_marker,
    somebodys_file,
    below_a_file,
    link_to_documents,
    link_to_a_file,
    link_to_itself,
    device,
    fifo,
    beside,
)
