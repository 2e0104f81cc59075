"""Whether the pictures of an index are as they were, by what the file system says of them."""

from pathlib import Path

from compodiff.images import PictureListing
from compodiff.index.comparing import open_index
from compodiff.index.previous import UNSURE, EarlierIndex, Stamp, make_stamp
from compodiff.index.scanning import name_in


def has_changed(index_folder: Path, folder: Path, listing: PictureListing) -> bool:
    """Return whether a picture of an index is gone, or its file is not as it was; no file is read.

    One that was written in the seconds before it was indexed counts as changed.
    """
    earlier = EarlierIndex(open_index(index_folder, folder))
    names = {name_in(folder, path): path for path in listing.files}
    return any(
        name not in names or earlier.find_unchanged(name, _stamp(names[name])) is None
        for name in earlier.index.picture_ids
    )


def _stamp(path: Path) -> Stamp:
    try:
        return make_stamp(path.stat())
    except OSError:
        return UNSURE
