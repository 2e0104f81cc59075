"""Pictures of a set that were embedded elsewhere: their embeddings are taken as they are, or at another length.

Shapes: n pictures, D embedding width.
"""

import hashlib
from collections.abc import Iterator, Sequence

import numpy as np

from compodiff.embeddings.set_arrays import MISSING, READ, Arrays
from compodiff.errors import InputInvalid
from compodiff.images.decoding import DIGEST_BYTES
from compodiff.images.mask_cells import MASK_SIZE
from compodiff.sets import Place, PlaceReader, Vectors

_AT_ONCE = 4096  # embeddings that are read together where they lie side by side


def read_vectors(reader: PlaceReader, places: Sequence[Place], form: Vectors) -> Arrays:
    """Read embeddings: images (n, D), digests of their bytes, states (n,), and no masks; zeros for what is missing."""
    size = form.width * np.dtype(form.dtype).itemsize
    contents, states = list[bytes](), list[int]()
    for run in _find_runs(places):
        for content in _read_run(reader, run):
            states.append(READ if content else MISSING)
            contents.append(content or bytes(size))
    images = np.frombuffer(b"".join(contents), form.dtype).reshape(len(places), form.width).astype(np.float32)
    if form.length is not None:
        images *= form.length / np.maximum(np.linalg.norm(images, axis=1, keepdims=True), np.finfo(np.float32).tiny)
    digests = b"".join(hashlib.blake2b(content, digest_size=DIGEST_BYTES).digest() for content in contents)
    return {
        "images": images.astype(np.float16),
        "masks": np.empty((0, MASK_SIZE * MASK_SIZE // 8), np.uint8),
        "digests": np.frombuffer(digests, np.uint8).reshape(-1, DIGEST_BYTES),
        "states": np.array(states, np.uint8),
    }


def _find_runs(places: Sequence[Place]) -> Iterator[Sequence[Place]]:
    """Cut places into runs that lie side by side in one file."""
    start = 0
    for number in range(1, len(places) + 1):
        before = places[number - 1]
        is_next = (
            number < len(places)
            and number - start < _AT_ONCE
            and (places[number].file, places[number].offset) == (before.file, before.offset + before.length)
        )
        if not is_next:
            yield places[start:number]
            start = number


def _read_run(reader: PlaceReader, run: Sequence[Place]) -> Iterator[bytes | None]:
    """Yield the bytes of each place of a run, None where they are missing."""
    size = run[0].length
    try:
        whole = reader.read(Place(run[0].name, run[0].file, run[0].offset, size * len(run)))
    except InputInvalid:
        if len(run) == 1:
            yield None
        else:
            for place in run:
                yield from _read_run(reader, [place])
        return
    yield from (whole[size * number : size * (number + 1)] for number in range(len(run)))
