"""Triplets of research sets whose annotations are JSON of their own form: LaSCo, FashionIQ and CIRR.

None of them has captions of pictures; LaSCo's pictures are COCO's, which has.
"""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from compodiff.benchmarks.datasets.benchmark import Benchmark
from compodiff.benchmarks.datasets.cirr import load_cirr
from compodiff.benchmarks.datasets.fashioniq import load_fashioniq
from compodiff.interchange.captioned import CocoCaptions
from compodiff.interchange.faults import NOT_JSON, Fault
from compodiff.interchange.manifests import Listed, read_json_items
from compodiff.interchange.pictures import PictureRoot
from compodiff.sets import Place

_FIELDS = ("qid", "query-image", "query-text", "target-image")


def read_lasco(annotations: Path, captions: CocoCaptions | None) -> Iterator[Listed]:
    """Yield the triplets of lasco_train.json, with COCO's first caption of each picture where it is given.

    Raises:
        Fault: the file breaks off.
    """
    for number, triplet in enumerate(read_json_items(annotations, "item")):
        where = f"{annotations}: triplet {number}"
        if missing := [name for name in _FIELDS if name not in triplet]:
            yield Fault(NOT_JSON, f"{where} has no {', '.join(missing)}; fetch it again")
            continue
        ends = [triplet["query-image"], triplet["target-image"]]
        if wrong := next((end for end in ends if not _is_end(end)), None):
            yield Fault(NOT_JSON, f"{where} has the picture {str(wrong)[:60]!r}, not [number, file]; fetch it again")
            continue
        said = [captions.first(end[0]) if captions else None for end in ends]
        yield {
            "key": f"{triplet['qid']}-{ends[1][0]}",
            "reference_image": ends[0][1],
            "target_image": ends[1][1],
            "relative_caption": triplet["query-text"],
            **dict(zip(("reference_caption", "target_caption"), said, strict=True)),
        }


def read_fashioniq(annotations: Path, pictures: Path) -> Iterator[Listed]:
    """Yield the triplets of the train split; the two captions of a triplet are joined in both orders."""
    return _read_parts(load_fashioniq(annotations, "train"), pictures)


def read_cirr(annotations: Path, pictures: Path) -> Iterator[Listed]:
    """Yield the triplets of the train split."""
    return _read_parts(load_cirr(annotations, "train"), pictures)


READERS: Mapping[str, Callable[[Path, Path], Iterator[Listed]]] = {"fashioniq": read_fashioniq, "cirr": read_cirr}


def _read_parts(parts: Sequence[Benchmark], pictures: Path) -> Iterator[Listed]:
    root = PictureRoot(pictures)
    for part in parts:
        for query in part.queries:
            key = f"{part.part}-{query.key}" if part.part else query.key
            try:
                ends = [_find(part, name, root) for name in (query.reference, *query.targets[:1])]
            except Fault as fault:
                yield Fault(fault.kind, f"{part.name} {key}: {fault}")
                continue
            roles = dict(zip(("reference_image", "target_image"), ends, strict=False))
            yield {"key": key, "relative_caption": list(query.texts), **roles}


def _find(part: Benchmark, name: str, root: PictureRoot) -> Place:
    """Return where a picture lies: as the benchmark has it, or anywhere by its name below the root."""
    found = part.pictures.locate(name)
    return root.find(name) if found is None else Place(name, os.path.abspath(found[0]), found[1], found[2])


def _is_end(end: Any) -> bool:
    return isinstance(end, list) and len(end) == 2 and isinstance(end[0], int) and isinstance(end[1], str)
