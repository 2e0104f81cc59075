"""Pictures: which files are some, how bytes become one, and the table that says where each one's bytes are."""

from compodiff.images.decoding import decode, full_size
from compodiff.images.files import Listing, list_pictures, loose_pictures, read_picture
from compodiff.images.kinds import SUFFIXES
from compodiff.images.table import COLUMNS, Pictures, tabulate

__all__ = [
    "COLUMNS",
    "SUFFIXES",
    "Listing",
    "Pictures",
    "decode",
    "full_size",
    "list_pictures",
    "loose_pictures",
    "read_picture",
    "tabulate",
]
