"""The picture files of a folder, whatever else it holds: what is left out is named or counted."""

import os
import stat
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from compodiff.errors import InputInvalid
from compodiff.images.files import GONE, looks_like_picture, name_file_type
from compodiff.images.ignoring import BY_PATTERN, Ignored
from compodiff.images.kinds import EXTRA, SUFFIXES, find_kind

_OUR_INPUTS = frozenset((".txt", ".csv", ".parquet", ".xmp"))  # captions, tables of columns, what is known of a picture
# Never opened to see what they are: what is still being written or fetched, and what is surely no picture.
_UNFINISHED = "part partial filepart crdownload download opdownload tmp temp aria2"
_NO_PICTURES = "mov mp4 m4v avi mkv mts m2ts 3gp wmv webm mp3 m4a wav flac aac ogg pdf zip json html xml aae thm db"
_NEVER_OPENED = frozenset(f".{suffix}" for suffix in f"{_UNFINISHED} {_NO_PICTURES}".split())
_NAMED_KINDS = 8
_TWINS = "links to what is here already"
_NO_DISKS = ("/proc", "/sys", "/dev")  # what the kernel shows as files


@dataclass(frozen=True)
class PictureListing:
    """What a folder of pictures holds.

    Attributes:
        files: the pictures, by name or by content, in a fixed order.
        left_out: path from the folder -> why it is not among `files`, although its name or place says that it should.
        others: suffix -> how many files are of another kind.
        passed: why -> how many files and folders were not looked at: by patterns, or left by other systems.
        beside: suffix -> how many files may say something of a picture, such as its caption.
    """

    files: list[Path] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)
    others: Counter[str] = field(default_factory=Counter)
    passed: Counter[str] = field(default_factory=Counter)
    beside: Counter[str] = field(default_factory=Counter)


def list_pictures(
    root: Path, *, folders: Sequence[str] = ("",), patterns: Sequence[str] = (), without_twins: bool = False
) -> PictureListing:
    """List the picture files under `root`, at any depth; what `Ignored` explains is passed over.

    Links to folders are followed, each folder once: what is no link comes first.

    Args:
        root: the folder.
        folders: those below it that are looked at, with a slash behind; "" for all.
        patterns: what else is passed over, as in a .gitignore.
        without_twins: pass over a link to a picture that is listed itself.

    Raises:
        InputInvalid: a folder that was asked for cannot be read, or patterns are none.
    """
    walk = _Walk(str(root), Ignored.read(root, patterns), without_twins)
    for below in folders:
        walk.take_folder(below)
    walk.follow_links()
    return walk.listing


def name_others(others: Counter[str]) -> str:
    """Say how many files of other kinds there are, and what would read them; "" where there is none."""
    named = {f"{suffix or 'without a suffix'}{_suggest_way_out(suffix)}": count for suffix, count in others.items()}
    files = "1 file of another kind" if others.total() == 1 else f"{others.total():,} files of other kinds"
    return f"{files} left out: {_name_counts(Counter(named))}" if others else ""


def name_passed(passed: Counter[str]) -> str:
    """Say how many files and folders were passed over, and why; "" where none was."""
    return f"{passed.total():,} passed over: {_name_counts(passed)}" if passed else ""


class _Walk:
    """One look through a folder. Paths below it have slashes; those of folders end in one."""

    def __init__(self, root: str, ignored: Ignored, without_twins: bool) -> None:
        self._root, self._ignored, self._without_twins = root, ignored, without_twins
        self._seen: set[object] = set()  # folders, by what names each but once
        self._links: list[str] = []
        self._twins: list[str] = []
        self.listing = PictureListing()

    def take_folder(self, asked: str, *, is_link: bool = False) -> None:
        """Add what is in a folder and below."""
        waiting = [asked]
        while waiting:
            below = waiting.pop()
            path = os.path.join(self._root, below) if below else self._root
            try:
                identity = _identify(path)
                with os.scandir(path) as entries:
                    found = sorted(entries, key=lambda entry: entry.name)
            except OSError as error:
                if below == asked and not is_link:
                    raise InputInvalid(f"cannot read the folder {path}: {error.strerror}") from error
                self.listing.left_out[below] = f"cannot be read: {error.strerror}"
                continue
            if is_link and identity in self._seen:
                self.listing.passed[_TWINS] += 1
                continue
            self._seen.add(identity)
            waiting += reversed(self._take_entries(below, found))

    def follow_links(self) -> None:
        """Add what lies behind links: folders that were not met otherwise, and then pictures that were not."""
        while self._links:
            links, self._links = self._links, []
            for below in links:
                if fault := self._find_fault_of_link(below):
                    self.listing.left_out[below] = fault
                else:
                    self.take_folder(below, is_link=True)
        listed = {str(path) for path in self.listing.files} if self._twins else set()
        for path in self._twins:
            if os.path.realpath(path) in listed:
                self.listing.passed[_TWINS] += 1
            else:
                self.listing.files.append(Path(path))

    def _take_entries(self, below: str, entries: Sequence["os.DirEntry[str]"]) -> list[str]:
        """Sort what is in one folder; return the folders in it."""
        folders = []
        for entry in entries:
            is_folder = _is_folder(entry)
            if why := self._ignored.explain(below, entry.name, is_folder=is_folder):
                self._count_passed(why, entry.name)
            elif is_folder:
                folders.append(f"{below}{entry.name}/")
            else:
                self._take(entry, f"{below}{entry.name}")
        return folders

    def _count_passed(self, why: str, name: str) -> None:
        if why == BY_PATTERN or not name.startswith(".compodiff"):  # our own index and file of patterns
            self.listing.passed[why] += 1

    def _take(self, entry: "os.DirEntry[str]", name: str) -> None:
        """Sort one entry that is no folder into what is read, what should be and is not, and what is of other kinds."""
        suffix = os.path.splitext(entry.name)[1].lower()
        is_picture = suffix in SUFFIXES
        try:
            status = entry.stat()
            fault = "" if stat.S_ISREG(status.st_mode) else f"is {name_file_type(status)}, not a file"
        except OSError as error:
            fault = "is a link to nothing" if error.errno in GONE else error.strerror or str(error)
        if not fault and not is_picture and suffix not in _OUR_INPUTS | _NEVER_OPENED:
            is_picture = looks_like_picture(entry.path)
        if is_picture and not fault and _is_no_utf8(name):
            fault = "has a name that is not UTF-8; rename it"
        if entry.is_symlink() and fault == "is a folder, not a file":
            self._links.append(f"{name}/")
        elif is_picture and fault:
            self.listing.left_out[name] = fault
        elif is_picture and self._without_twins and entry.is_symlink():
            self._twins.append(entry.path)
        elif is_picture:
            self.listing.files.append(Path(entry.path))
        elif not fault:
            (self.listing.beside if suffix in _OUR_INPUTS else self.listing.others)[suffix] += 1

    def _find_fault_of_link(self, below: str) -> str:
        """Return why a link to a folder is not followed."""
        real, root = os.path.realpath(os.path.join(self._root, below)), os.path.realpath(self._root)
        if real != root and f"{root}/".startswith(f"{real.rstrip('/')}/"):
            return "is a link to a folder that this one lies in, which is not followed"
        if any(f"{real}/".startswith(f"{place}/") for place in _NO_DISKS):
            return f"is a link to {real}, which is not followed"
        return ""


def _identify(folder: str) -> object:
    """Return what a folder has in common with itself by another way, also where a file system numbers nothing."""
    status = os.stat(folder)
    return (status.st_dev, status.st_ino) if status.st_ino else os.path.realpath(folder)


def _is_folder(entry: "os.DirEntry[str]") -> bool:
    try:
        return entry.is_dir(follow_symlinks=False)
    except OSError:
        return False


def _is_no_utf8(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return True
    return False


def _name_counts(counts: Counter[str]) -> str:
    named = [f"{count:,} {name}" for name, count in counts.most_common(_NAMED_KINDS)]
    return f"{', '.join(named)}{', ...' if len(counts) > _NAMED_KINDS else ''}"


def _suggest_way_out(suffix: str) -> str:
    kind = find_kind(suffix)
    return f" ({EXTRA})" if kind is not None and kind.package else ""
