"""The pictures of benchmarks, of which none may be in a clean copy: embedded once, and kept in a file."""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from tqdm import tqdm

from compodiff.benchmarks.datasets.own import load_triplets
from compodiff.benchmarks.datasets.pictures import BenchmarkPictures, GalleryFolder
from compodiff.cleaning.survey import embed_as_units
from compodiff.encoders import Encoder, load_encoder
from compodiff.errors import InputInvalid
from compodiff.storage.arrays import open_archive
from compodiff.storage.atomic import replace_path
from compodiff.storage.names import make_printable
from compodiff.storage.ownership import is_signed, make_signature

GALLERY = "embedded gallery"


@dataclass(frozen=True)
class BenchmarkGallery:
    """A benchmark's pictures: names, and embeddings (N, D) of unit length."""

    names: tuple[str, ...]
    embeddings: NDArray[np.float16]

    @classmethod
    def embed(cls, pictures: Iterable[tuple[str, Image.Image]], encoder: Encoder, batch_size: int) -> Self:
        """Embed named pictures, one batch in memory at a time."""
        names: list[str] = []

        def read_named() -> Iterator[Image.Image]:
            for name, picture in pictures:
                names.append(name)
                yield picture

        embeddings = embed_as_units(encoder, read_named(), batch_size)
        return cls(tuple(names), embeddings)

    def save(self, path: Path, identity: str) -> None:
        """Keep it in a file (.npz), with what tells its pictures and encoder from others."""
        with replace_path(path, GALLERY) as temporary, temporary.open("wb") as stream:
            arrays = {"names": np.array(self.names, np.str_), "identity": np.array(identity)}
            signed = {make_signature(GALLERY): np.array("")}
            np.savez(stream, embeddings=self.embeddings, **arrays, **signed)  # type: ignore[arg-type]

    @classmethod
    def load(cls, path: Path, identity: str) -> "BenchmarkGallery | None":
        """Read what `save` kept for the same identity; None where there is nothing of it."""
        if not path.is_file() or not is_signed(path, GALLERY):
            return None
        with open_archive(path) as kept:
            if str(kept["identity"]) != identity:
                return None
            return cls(tuple(kept["names"].tolist()), kept["embeddings"])


def embed_benchmarks(
    benchmarks: Sequence[Path], split: str | None, encoder: Path, batch_size: int, kept: Path
) -> BenchmarkGallery:
    """Embed the benchmarks' pictures, unless the file `kept` holds them of the same files and encoder.

    Args:
        benchmarks: folders; none gives an empty gallery.
        split: only pictures that the queries of this split name; None takes the whole galleries.
        encoder: its folder.
        batch_size: pictures that are embedded at a time.
        kept: the file for the next time.
    """
    files = [path for folder in benchmarks for path in (folder, *sorted(folder.rglob("*"))) if path.exists()]
    stamps = [(str(path), path.stat().st_size, path.stat().st_mtime_ns) for path in files]
    manifest = (encoder / "manifest.json").read_bytes() if (encoder / "manifest.json").is_file() else b""
    identity = hashlib.sha256(manifest + repr((stamps, split)).encode()).hexdigest()
    if (earlier := BenchmarkGallery.load(kept, identity)) is not None:
        return earlier
    pictures = (named for folder in benchmarks for named in _read_pictures(folder, split))
    gallery = BenchmarkGallery.embed(pictures, load_encoder(encoder).prepare_for_many(), batch_size)
    gallery.save(kept, identity)
    return gallery


def _read_pictures(folder: Path, split: str | None) -> Iterator[tuple[str, Image.Image]]:
    """Yield all pictures of a benchmark, or those that the queries of a split name."""
    pictures: BenchmarkPictures
    if split is None:
        pictures = gallery = GalleryFolder.scan(folder)
        names = gallery.ids
    else:
        (part,) = load_triplets(folder, split)
        pictures = part.pictures
        names = tuple(dict.fromkeys((*(query.reference for query in part.queries), *part.ranked_pictures)))
    if not names:
        raise InputInvalid(f"the benchmark {folder} holds no picture; name the folder of its pictures")
    for name in tqdm(names, f"embedding {make_printable(folder.name)}", unit=" pictures", disable=None):
        yield f"{folder}/{name}", pictures.read(name)
