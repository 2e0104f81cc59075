"""What changes when an index is replaced; this module imports nothing heavy."""

from pathlib import Path

from compodiff.index import MANIFEST


def stamp(folder: Path) -> tuple[int, int]:
    """Return time and inode of the manifest of the index at `folder`; (0, 0) where there is none."""
    try:
        status = (folder / MANIFEST).stat()
    except (FileNotFoundError, NotADirectoryError):
        return (0, 0)
    return (status.st_mtime_ns, status.st_ino)
