"""Folders that are looked at again and again, so that their index follows them.

A look lists every file. No system's own notices are used: network file systems give none of what others write.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

from compodiff.errors import InputInvalid
from compodiff.images import PictureListing
from compodiff.index.previous import Stamp
from compodiff.index.sources import Sources

_SHARE = 10  # times as long as a look takes is waited before the next one


def watch_pictures(
    sources: Sources,
    seconds: float,
    on_away: Callable[[str], None],
    sleep: Callable[[float], object] = time.sleep,
) -> Iterator[tuple[PictureListing, list[Path]]]:
    """Yield, for ever, what is there together with the pictures that are new or changed since the last time.

    A picture counts when it has stayed as it is from one look to the next: while it is being copied, it does not. What
    the first look finds counts as new.

    Args:
        sources: what is looked at.
        seconds: between two looks, at least.
        on_away: is told, once, that the folders cannot be read: a disk or a network may come back.
        sleep: waits.
    """
    before: dict[Path, Stamp] = {}
    done: dict[Path, Stamp] = {}
    is_away = False
    while True:
        started = time.monotonic()
        try:
            listing = sources.list_pictures()
            is_away = False
        except InputInvalid as error:
            if not is_away:
                on_away(str(error))
            is_away, listing = True, None
        if listing is not None:
            now = _stamp_files(listing)
            settled = [path for path, stamp in now.items() if before.get(path) == stamp and done.get(path) != stamp]
            before = now
            if settled:
                yield listing, settled
                done = {path: stamp for path, stamp in done.items() if path in now}
                done |= {path: now[path] for path in settled}
        sleep(max(seconds, _SHARE * (time.monotonic() - started)))


def _stamp_files(listing: PictureListing) -> dict[Path, Stamp]:
    """Return what changes with each file that is there."""
    stamps = {}
    for path in listing.files:
        with suppress(OSError):  # gone since it was listed
            status = path.stat()
            stamps[path] = (status.st_size, status.st_mtime_ns, status.st_ino)
    return stamps
