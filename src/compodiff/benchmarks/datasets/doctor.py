"""What of a benchmark is in a folder, what is missing, and where people get it."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from compodiff.benchmarks.datasets.benchmark import Benchmark
from compodiff.benchmarks.datasets.loading import BenchmarkChoices, find_entry, load_benchmark
from compodiff.errors import InputInvalid

_NAMED_MISSING = 3

# Published counts: (queries, gallery; None where the annotations do not list it) of each part.
PUBLISHED: dict[tuple[str, str], list[tuple[int, int | None]]] = {
    ("cirr", "val"): [(4181, 2297)],
    ("cirr", "test1"): [(4148, 2315)],
    ("fashioniq", "val"): [(2017, 3817), (2038, 6346), (1961, 5373)],
    ("circo", "val"): [(220, 123_403)],
    ("circo", "test"): [(800, 123_403)],
    ("genecis-change-object", "val"): [(1960, None)],
    ("genecis-focus-object", "val"): [(1960, None)],
    ("genecis-change-attribute", "val"): [(2112, None)],
    ("genecis-focus-attribute", "val"): [(2000, None)],
}

_CIRR = (
    "annotations (MIT): git clone -b cirr_dataset https://github.com/Cuberick-Orion/CIRR.git cirr",
    "pictures: NLVR2, by its form (linked from https://github.com/lil-lab/nlvr/tree/master/nlvr2); not by URL list, "
    "too many links are broken; unpack to img_raw/dev, img_raw/test1, img_raw/train",
)
_FASHIONIQ = (
    "annotations (CDLA): git clone https://github.com/XiaoxiaoGuo/fashion-iq.git; captions/ and image_splits/",
    "pictures: by the URLs of https://github.com/hongwang600/fashion-iq-metadata into images/; links rot: 74,381 of "
    "77,684 could be had, so score with --skip-missing, which counts what is missing in the result",
)
_CIRCO = (
    "annotations (CC BY-NC 4.0): git clone https://github.com/miccunifi/CIRCO.git",
    "pictures (19 GB) and their list: https://cocodataset.org/#download, 2017 Unlabeled images and Unlabeled image "
    "info; unpack to COCO2017_unlabeled/unlabeled2017 and COCO2017_unlabeled/annotations",
)
_GENECIS = (
    "annotations (CC BY-NC 4.0): https://github.com/facebookresearch/genecis, the four JSON files of genecis/",
    "pictures of the object tasks: https://cocodataset.org/#download, 2017 Val images; unpack to val2017/",
    "pictures of the attribute tasks: https://homes.cs.washington.edu/~ranjay/visualgenome, version 1.2; unpack to "
    "VG_100K/ and VG_100K_2/",
)
_TRIPLETS = (
    "yours: gallery/ with pictures or tars of them, and queries.jsonl with one object a line: "
    '{"reference": id, "relative_caption": text, "target": id or "targets": [ids]}',
)


@dataclass(frozen=True)
class BenchmarkFinding:
    """One line of the examination."""

    is_good: bool
    what: str


def examine(name: str, root: Path) -> Iterator[BenchmarkFinding]:
    """Examine each split of benchmark `name` in the folder `root`.

    Raises:
        InputInvalid: there is no such benchmark, or `root` is no folder.
    """
    entry = find_entry(name)
    if not root.is_dir():
        raise InputInvalid(f"{root} is not a folder; give the benchmark's folder with --root")
    for split in entry.splits or _find_splits(root) or (entry.default_split,):
        try:
            parts = load_benchmark(name, root, split, BenchmarkChoices())
        except InputInvalid as error:
            yield BenchmarkFinding(False, f"{split}: {error}")
            continue
        published = PUBLISHED.get((name, split), [])
        for place, part in enumerate(parts):
            yield _check_counts(part, published[place] if place < len(published) else None)
            yield _check_pictures(part)


def list_sources(name: str) -> tuple[str, ...]:
    """Return where people get what the benchmark needs."""
    if name.startswith("genecis"):
        return _GENECIS
    return {"cirr": _CIRR, "fashioniq": _FASHIONIQ, "circo": _CIRCO, "triplets": _TRIPLETS}[name]


def _find_splits(root: Path) -> tuple[str, ...]:
    """Return splits of a `triplets` folder, by the names of its files."""
    return tuple(sorted(path.name.split(".")[1] for path in root.glob("queries.*.jsonl")))


def _check_counts(part: Benchmark, published: tuple[int, int | None] | None) -> BenchmarkFinding:
    label = f"{part.split} {part.part}".rstrip()
    listed = "gallery not listed" if part.gallery is None else f"gallery {len(part.gallery):,}"
    queries = f"{label}: {len(part.queries):,} queries, {listed}"
    hidden = ", targets hidden" if part.hides_targets else ""
    if published is None:
        return BenchmarkFinding(True, f"{queries}{hidden}")
    expected_queries, expected_gallery = published
    as_published = len(part.queries) == expected_queries and (
        part.gallery is None or expected_gallery is None or len(part.gallery) == expected_gallery
    )
    if as_published:
        return BenchmarkFinding(True, f"{queries}{hidden}, as published")
    of_gallery = "" if expected_gallery is None else f" and a gallery of {expected_gallery:,}"
    return BenchmarkFinding(False, f"{queries}{hidden}; published: {expected_queries:,}{of_gallery}; another release?")


def _check_pictures(part: Benchmark) -> BenchmarkFinding:
    if part.gallery is None and part.protocol.recall_ks:
        what = "neither the gallery's list nor its pictures; `run` needs them, `score` takes the gallery from G.npz"
        return BenchmarkFinding(False, f"{part.split}: {what}")
    named = part.named_pictures
    missing = [name for name in named if not part.pictures.has(name)]
    away = frozenset(missing)
    broken = [name for name in named if name not in away and part.pictures.is_broken(name)]
    label = f"{part.split} {part.part}".rstrip()
    if not missing and not broken:
        return BenchmarkFinding(True, f"{label}: all {len(named):,} pictures")
    faults = [
        f"{len(names):,} of {len(named):,} pictures {fault} ({', '.join(names[:_NAMED_MISSING])} ...)"
        for names, fault in ((missing, "missing"), (broken, "broken: empty, cut short or no pictures"))
        if names
    ]
    return BenchmarkFinding(False, f"{label}: {'; '.join(faults)}")
