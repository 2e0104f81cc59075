"""Folders for what is needed only meanwhile: gone when the work ends, and after a kill when the next work begins."""

import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from compodiff.machine import lock_folder
from compodiff.storage.ownership import delete_partial, name_scratch

_YOUNG = 60.0  # seconds; its maker may not have locked it yet


@contextmanager
def open_scratch(beside: Path | None = None) -> Iterator[Path]:
    """Yield an empty folder, in `beside` or in the system's folder for temporary files; it goes when the block ends.

    It is locked meanwhile, and the kernel ends a lock with its process: those of processes that were killed go first.

    Raises:
        OSError: it cannot be made.
    """
    place = Path(tempfile.gettempdir()) if beside is None else beside
    place.mkdir(parents=True, exist_ok=True)
    _clear_what_a_kill_left(place)
    start, end = name_scratch()
    folder = Path(tempfile.mkdtemp(end, start, place))
    try:
        with lock_folder(folder):
            yield folder
    finally:
        with suppress(FileNotFoundError):  # another, who clears the place, saw it unlocked and was faster
            delete_partial(folder)


def _clear_what_a_kill_left(place: Path) -> None:
    for folder in place.glob("*".join(name_scratch())):
        with suppress(OSError):  # it is locked, it is somebody else's, or another was faster
            if folder.is_symlink() or not folder.is_dir() or time.time() - folder.stat().st_mtime < _YOUNG:
                continue
            with lock_folder(folder):
                pass
            delete_partial(folder)
