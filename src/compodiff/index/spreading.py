"""A folder's new pictures encoded by several processes: one a GPU, COMPODIFF_WORKERS of them, or on Ray.

They put what they encode where a build that was killed has put it, so the build itself finds nothing left to encode.
On other machines, the folder and the index stand at the same place.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from tqdm import tqdm

from compodiff.encoders import load_encoder
from compodiff.execution import count_workers, map_shards
from compodiff.index.encoded import EncodedPictures
from compodiff.index.left_out import LeftOut
from compodiff.index.scanning import FileReading, SeenFile

SHARD = 512  # files that a process is given at a time


@dataclass(frozen=True)
class FileEncoder:
    """Reads and encodes some files of a folder: what `map_shards` maps.

    Attributes:
        folder: that the files are named from.
        staging: where what is encoded is put down.
        encoder: the folder of the encoder.
        held: digests of bytes that need not be encoded.
    """

    folder: Path
    staging: Path
    encoder: Path
    held: frozenset[str] = frozenset()

    def __call__(self, files: Sequence[Path]) -> list[SeenFile]:
        """Return what is seen of each file, without the pictures."""
        seen = []
        for each in self._reading.look_at(files):
            self._reading.encode(each)
            seen.append(replace(each, picture=None))
        self._reading.parts.flush()
        return seen

    @cached_property
    def _reading(self) -> FileReading:
        encoder = load_encoder(self.encoder).prepare_for_many()
        return FileReading(self.folder, EncodedPictures(self.staging, None, encoder, held=self.held), None, LeftOut())


def read_ahead(reading: FileReading, files: Iterable[Path], encode: FileEncoder, *, is_quiet: bool) -> None:
    """Let processes see and encode the files that `reading` would have to read, where that is work for more than one.

    Raises:
        ResourceUnavailable: as `map_shards` says; what was encoded is kept.
    """
    listed = files if isinstance(files, Sequence) else ()  # who names files one by one watches them
    new = [path for path in dict.fromkeys(listed) if reading.find_unchanged(path) is None]
    if len(new) <= SHARD:
        return
    encode = replace(encode, held=reading.parts.digests)
    shards = (new[at : at + SHARD] for at in range(0, len(new), SHARD))
    hidden = True if is_quiet else None  # None: where stderr is no terminal
    with tqdm(None, "encoding", len(new), unit=" pictures", disable=hidden) as bar:
        for shard, seen in map_shards(encode, shards, workers=count_workers()):
            reading.seen.update((each.name, each) for each in seen)
            bar.update(len(shard))
    reading.parts.read_what_others_encoded()
