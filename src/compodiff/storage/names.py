"""Names that a file gave, such as a manifest or an annotation: they may lead into their folder and nowhere else."""

from pathlib import Path, PurePosixPath, PureWindowsPath
from unicodedata import category

from compodiff.errors import InputInvalid


def is_inside(name: str) -> bool:
    """Return whether `name` leads neither upwards nor to another root, as any system reads it.

    Links on the disk are not followed: DVC may put them in place of its files. A name like "a:dog.png" stays: only
    Windows itself, where this does not run, takes the letter for a drive.
    """
    kinds = (PurePosixPath(name), PureWindowsPath(name))
    return "\0" not in name and not any(kind.root or ".." in kind.parts for kind in kinds)


def resolve_inside(root: Path, name: str) -> Path:
    """Return `name` under `root`.

    Raises:
        InputInvalid: it would lead out of it.
    """
    if not is_inside(name):
        raise InputInvalid(f"{name!r} leads out of {root}; the file that names it is damaged or cannot be trusted")
    return root / name


def require_utf8(path: Path, way_out: str) -> None:
    """Check that a path can be handed to FAISS and DuckDB, which take names in UTF-8 alone.

    Raises:
        InputInvalid: a byte of it is not UTF-8; the message ends in `way_out`.
    """
    try:
        str(path).encode()
    except UnicodeEncodeError as error:
        raise InputInvalid(f"{path} has a name that is not UTF-8; {way_out}") from error


def make_printable(text: str) -> str:
    """Return a text that holds names as one line that any terminal shows; what cannot be printed is escaped.

    A file's name may hold line breaks, escape sequences and bytes that are not UTF-8.
    """
    return "".join(each if _is_shown(each) else each.encode("unicode_escape").decode() for each in text)


def _is_shown(character: str) -> bool:
    """Return whether a character is seen as meant: of those without a form, spaces and joiners of emoji are."""
    return character.isprintable() or character in "\u200c\u200d" or category(character) == "Zs"
