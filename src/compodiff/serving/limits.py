"""What one request may ask for besides its dials (dials.py); beyond it the answer is a 4xx that says so."""

from dataclasses import dataclass

MAX_TEXT = 1_000  # characters; the default encoder reads 32 tokens
MAX_FILTER = 2_000
MAX_REFERENCES = 8
MAX_EXCLUDED = 500
MAX_LISTED = 200
MAX_EMBEDDING = 40_000  # characters of base64
MASK_CELLS = 512  # bytes: 64 x 64 bits


@dataclass(frozen=True)
class Limits:
    """What depends on the machine."""

    upload_bytes: int = 20 * 2**20  # of a whole request
    pixels: int = 40_000_000  # of a picture; decoded, it takes 3 or 4 bytes each
    waiting: int = 256  # queries that wait or are being answered, at most
    batch: int = 32  # queries that the model answers at once
