"""Pictures: which files are some, how bytes become one, and the table that says where each one's bytes are."""

from compodiff.images.decoding import decode, read_full_size
from compodiff.images.files import read_picture
from compodiff.images.kinds import SUFFIXES
from compodiff.images.listing import PictureListing, list_pictures
from compodiff.images.table import COLUMNS, PictureTable, tabulate

__all__ = [
    "COLUMNS",
    "SUFFIXES",
    "PictureListing",
    "PictureTable",
    "decode",
    "list_pictures",
    "read_full_size",
    "read_picture",
    "tabulate",
]
