"""The pictures and texts of a benchmark, embedded once: a second run reads them, one that was killed continues."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from PIL import Image

from compodiff.benchmarks.datasets.benchmark import Benchmark
from compodiff.benchmarks.datasets.pictures import BenchmarkPictures
from compodiff.embeddings import EmbeddingMaterial, Embeddings, make_embeddings
from compodiff.encoders import Encoder, EncoderManifest
from compodiff.errors import InputInvalid
from compodiff.language.wishes import list_wished
from compodiff.params import EmbeddingParams

# In a project. Apart from artifacts/benchmark_embeddings, on which stages depend: a score would make them run again.
CACHE = Path("artifacts", "embedded_benchmarks")
_NAMED = 3


@dataclass(frozen=True)
class PresentPictures:
    """What of a benchmark can be embedded.

    Attributes:
        parts: without the queries whose reference is missing.
        pictures: picture id -> where it is read; every picture that is there.
        missing: ids of those that are not.
        left_out: queries without their reference.
        parts_left_out: parts of several of which no query has its reference, or none a target.
    """

    parts: tuple[Benchmark, ...]
    pictures: dict[str, BenchmarkPictures]
    missing: tuple[str, ...]
    left_out: int
    parts_left_out: tuple[str, ...] = ()


def find_present(parts: Sequence[Benchmark], *, skip_missing: bool) -> PresentPictures:
    """Look which pictures are there.

    Raises:
        InputInvalid: the gallery is not known, or a picture is missing and `skip_missing` is false.
    """
    found: dict[str, BenchmarkPictures] = {}
    missing: dict[str, None] = {}
    for part in parts:
        if part.gallery is None and part.protocol.recall_ks:
            raise InputInvalid(
                f"the gallery of {part.label} is not there; see what is missing with: "
                f"compodiff benchmark doctor {part.name}"
            )
        for name in part.named_pictures:
            if name in found or name in missing:
                continue
            if part.pictures.has(name) and not (skip_missing and part.pictures.is_broken(name)):
                found[name] = part.pictures
            else:
                missing[name] = None
    if missing and not skip_missing:
        named = ", ".join(list(missing)[:_NAMED])
        raise InputInvalid(
            f"{len(missing):,} of {len(missing) + len(found):,} pictures of {parts[0].name} are missing ({named} ...); "
            f"get them (compodiff benchmark doctor {parts[0].name}), or leave them out with --skip-missing"
        )
    kept = [tuple(query for query in part.queries if found.keys() >= set(query.references)) for part in parts]
    if not any(kept):
        raise InputInvalid(f"no query of {parts[0].label} has its reference; see: compodiff benchmark doctor")
    left_out = sum(len(part.queries) - len(own) for part, own in zip(parts, kept, strict=True))
    whole = [replace(part, queries=own) for part, own in zip(parts, kept, strict=True) if own]
    scored = tuple(part for part in whole if len(parts) == 1 or part.can_be_scored(found)) or tuple(whole)
    without = {part.part for part in parts} - {part.part for part in scored}
    return PresentPictures(scored, found, tuple(missing), left_out, tuple(sorted(without)))


def embed_benchmark(there: PresentPictures, encoder: Encoder, cache: Path, params: EmbeddingParams) -> Embeddings:
    """Embed what is there into a folder of `cache`, one for each benchmark, set of files and encoder.

    What an earlier run embedded from the same files with the same encoder is read.

    Raises:
        InputInvalid: a picture does not decode.
        ResourceUnavailable: the disk is full; what is embedded is kept.
    """
    digest = _digest_present(there, encoder)
    folder = cache / f"{there.parts[0].name}-{there.parts[0].split}-{digest[:16]}"
    if not folder.is_dir():
        embed_parts(folder, there, encoder, params)
    return Embeddings.load(folder, encoder=encoder.manifest)


def embed_parts(folder: Path, there: PresentPictures, encoder: Encoder, params: EmbeddingParams) -> None:
    """Embed what is there as the folder `folder`; a run that was killed continues.

    Raises:
        InputInvalid: a picture does not decode.
        ResourceUnavailable: the disk is full; what is embedded is kept.
    """

    def read(name: str) -> Image.Image:
        return there.pictures[name].read(name)

    texts = _list_texts(there, encoder.manifest)
    material = EmbeddingMaterial(list(there.pictures), read, _digest_present(there, encoder), texts)
    make_embeddings(folder, encoder, material, params)


def _list_texts(there: PresentPictures, encoder: EncoderManifest) -> list[str]:
    """List what queries say, and what of it they want where the encoder tells classes by it."""
    queries = [query for part in there.parts for query in part.queries]
    said = {text for query in queries for text in query.texts}
    wished = list_wished(said) if encoder.tells_classes else set()
    return sorted(said | wished | {query.negative for query in queries})


def _digest_present(there: PresentPictures, encoder: Encoder) -> str:
    """Return what changes whenever a picture, a text or the encoder does."""
    stamps = [(name, pictures.stamp(name)) for name, pictures in there.pictures.items()]
    identity = json.dumps([stamps, _list_texts(there, encoder.manifest), encoder.manifest.identify()]).encode()
    return hashlib.sha256(identity).hexdigest()
