"""Whose a folder is: only what this program wrote is ever replaced or deleted, and only here anything is deleted.

A folder that this program made carries a marker, `.compodiff.json`, which says what kind of thing it is and names what
was written into it: each file, or patterns of names where a folder is filled little by little. A folder that carries
no marker, the marker of another kind, or anything that its marker does not name belongs to somebody: it is refused.
A file that this program wrote at a place of a person's choice says so in its first or last 64 KiB (`make_signature`).
"""

import json
import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from compodiff.errors import InputInvalid

MARKER = ".compodiff.json"
PAGE = "page"  # the kind of every HTML file
_PARTIAL, _RETIRED = "compodiff-partial", "compodiff-retired"
# What file managers leave wherever they look; in a folder of ours it is not worth a refusal.
_LEFT_BY_FILE_MANAGERS = frozenset({".DS_Store", "Thumbs.db", "desktop.ini"})
_SEARCHED = 2**16  # bytes at each end of a file, where its signature may stand


def make_signature(kind: str) -> str:
    """Return the words by which a file of this kind is known as written by this program."""
    return f"compodiff:{kind}"


def name_partial(path: Path) -> Path:
    """Return the name beside `path` under which this process writes it."""
    return path.with_name(f".{path.name}.{os.getpid()}.{_PARTIAL}")


def name_retired(path: Path) -> Path:
    """Return the name beside `path` under which an earlier one waits until the new one is in place."""
    return path.with_name(f".{path.name}.{os.getpid()}.{_RETIRED}")


def name_scratch() -> tuple[str, str]:
    """Return how the name of a folder for what is needed only meanwhile begins, and how it ends."""
    return ".scratch.", f".{_PARTIAL}"


def find_partials(path: Path) -> list[tuple[Path, int]]:
    """Return what processes were writing as `path`, each with the process's id."""
    return _find_siblings(path, _PARTIAL)


def find_retired(path: Path) -> list[tuple[Path, int]]:
    """Return the earlier ones of `path` that processes were replacing, each with the process's id."""
    return _find_siblings(path, _RETIRED)


def mark_folder(folder: Path, kind: str, patterns: Sequence[str] | None = None) -> None:
    """Write the marker of `folder`.

    Args:
        folder: an existing folder of ours.
        kind: what it is, in words ("index").
        patterns: names that may be written into it, as of a shell (* and ?), each with all that lies below; None for
            what is in it now.
    """
    if patterns is None:
        content = {"kind": kind, "files": sorted(name for name in _walk(folder) if name != MARKER)}
    else:
        content = {"kind": kind, "patterns": sorted(patterns)}
    temporary = name_partial(folder / MARKER)
    temporary.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    temporary.replace(folder / MARKER)


def is_marked(folder: Path) -> bool:
    """Return whether `folder` carries a marker."""
    return _read_marker(folder) is not None


def read_marked_patterns(folder: Path) -> frozenset[str]:
    """Return the patterns of names that the marker of `folder` allows; none where there is no marker."""
    marker = _read_marker(folder)
    return frozenset(marker.patterns) if marker else frozenset()


def require_replaceable_folder(folder: Path, kind: str) -> None:
    """Check that nothing of anybody's is lost when `folder` is replaced or filled.

    Raises:
        InputInvalid: it is a file or a mount point, or holds something that is not of a folder of this kind.
    """
    if not os.path.lexists(folder):
        return
    if not folder.is_dir():
        raise InputInvalid(f"{folder} is a file; name a folder")
    if os.path.ismount(folder):
        raise InputInvalid(f"{folder} is a mount point, which cannot be replaced; name a folder in it")
    marker = _read_marker(folder)
    if marker is None:
        if foreign := next((name for name in _walk(folder) if not _is_partial(name)), None):
            raise InputInvalid(f"{folder} holds {foreign!r}, which compodiff did not write; name another folder")
        return
    if marker.kind != kind:
        raise InputInvalid(f"{folder} is compodiff's {marker.kind}, not its {kind}; name another folder")
    if foreign := next((name for name in _walk(folder) if not marker.covers(name)), None):
        raise InputInvalid(f"{folder} holds {foreign!r}, which compodiff did not write; move it away and run again")


def require_replaceable_file(path: Path | None, kind: str) -> None:
    """Check that nothing of anybody's is lost when the file `path` is replaced; None: no file is asked for.

    Raises:
        InputInvalid: it is no regular file, or one that this program did not write as this kind.
    """
    if path is None or not os.path.lexists(path):
        return
    if path.is_dir():
        raise InputInvalid(f"{path} is a folder; name a file")
    if not path.is_file():
        raise InputInvalid(f"{path} is no regular file; name another one")
    if path.stat().st_size and not is_signed(path, kind):
        raise InputInvalid(f"{path} is a file that compodiff did not write as {kind}; name another one, or remove it")


def is_signed(path: Path, kind: str) -> bool:
    """Return whether the file `path` carries the signature of this kind."""
    with path.open("rb") as file:
        start = file.read(_SEARCHED)
        file.seek(max(0, path.stat().st_size - _SEARCHED))
        return make_signature(kind).encode() in start + b"\n" + file.read(_SEARCHED)


def require_apart(written: Path, *read: Path) -> None:
    """Check that what is written is none of what is read, and does not contain it.

    Raises:
        InputInvalid: it is.
    """
    target = Path(os.path.realpath(written))
    for source in read:
        if Path(os.path.realpath(source)).is_relative_to(target):
            raise InputInvalid(f"{written} holds what is read ({source}); name another place to write to")


def delete_folder(folder: Path, kind: str) -> None:
    """Delete a folder of ours; one that is not there is no error.

    Raises:
        InputInvalid: it is not ours, or holds something that is not; nothing is touched.
    """
    if os.path.lexists(folder):
        require_replaceable_folder(folder, kind)
        shutil.rmtree(folder)


def delete_partial(path: Path) -> None:
    """Delete what `name_partial` named: a file or a folder that was not finished."""
    if not path.name.endswith(_PARTIAL):
        raise ValueError(f"{path} is no partial name")
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def delete_retired(folder: Path) -> None:
    """Delete what `name_retired` named; what somebody put into it meanwhile keeps it where it is."""
    if not folder.is_dir():
        return
    marker = _read_marker(folder)
    if all(marker is not None and marker.covers(name) for name in _walk(folder)):
        shutil.rmtree(folder, ignore_errors=True)


def delete_inside(path: Path) -> None:
    """Delete a file or folder that the marker of a folder above it names; one that is not there is no error.

    Raises:
        InputInvalid: no folder above it is ours, or its marker does not name it.
    """
    for folder in path.parents:
        marker = _read_marker(folder)
        if marker is not None and marker.covers(path.relative_to(folder).as_posix()):
            break
    else:
        raise InputInvalid(f"{path} is nothing that compodiff wrote; remove it yourself")
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def delete_file(path: Path, kind: str) -> None:
    """Delete a file of ours; one that is not there is no error.

    Raises:
        InputInvalid: it is not ours.
    """
    require_replaceable_file(path, kind)
    path.unlink(missing_ok=True)


@dataclass(frozen=True)
class _Marker:
    kind: str
    files: frozenset[str]
    folders: frozenset[str]  # above the files; as patterns, above the patterns
    patterns: tuple[str, ...]

    def covers(self, name: str) -> bool:
        """Return whether something in the folder, by its path from there, is ours."""
        base = name.rpartition("/")[2]
        if name == MARKER or name in self.files or name in self.folders or base in _LEFT_BY_FILE_MANAGERS:
            return True
        if any(fnmatchcase(name, folder) and name.count("/") == folder.count("/") for folder in self.folders):
            return True
        if _is_partial(name):
            return True
        steps = name.split("/")
        tops = ("/".join(steps[:depth]) for depth in range(1, len(steps) + 1))
        return any(fnmatchcase(top, pattern) for top in tops for pattern in self.patterns)


def _read_marker(folder: Path) -> _Marker | None:
    """Return the marker of a folder; None where there is none, or nothing that this program would write."""
    try:
        content = json.loads((folder / MARKER).read_text(encoding="utf-8"))
        kind, files, patterns = content["kind"], content.get("files", []), content.get("patterns", [])
        if not all(isinstance(each, str) for each in (kind, *files, *patterns)):
            return None
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None
    above = frozenset(str(parent) for name in (*files, *patterns) for parent in Path(name).parents)
    return _Marker(kind, frozenset(files), above, tuple(patterns))


def _is_partial(name: str) -> bool:
    """Return whether this is what a kill left of a file or folder that was being written, or lies in such a folder."""
    return any(step.startswith(".") and step.endswith(f".{_PARTIAL}") for step in name.split("/"))


def _walk(folder: Path) -> Iterator[str]:
    """Yield everything in a folder, by its path from there, in a fixed order; links are not followed.

    Raises:
        InputInvalid: a folder in it cannot be read, so that nobody knows what it holds.
    """

    def refuse(error: OSError) -> None:
        raise InputInvalid(f"cannot read {error.filename}: {error.strerror}; name another folder") from error

    for place, below, files in os.walk(folder, onerror=refuse):
        below.sort()
        inner = Path(place).relative_to(folder)
        for name in sorted((*below, *files)):
            yield (inner / name).as_posix()


def _find_siblings(path: Path, kind: str) -> list[tuple[Path, int]]:
    start, end = f".{path.name}.", f".{kind}"
    found = []
    for name in sorted(os.listdir(path.parent)) if path.parent.is_dir() else ():
        owner = name[len(start) : -len(end)]
        if name.startswith(start) and name.endswith(end) and owner.isdigit():
            found.append((path.with_name(name), int(owner)))
    return found
