"""What of a benchmark is in a folder, what is missing, and where people get it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from compodiff.benchmarks.datasets.benchmark import Benchmark
from compodiff.benchmarks.datasets.loading import BenchmarkChoices, find_entry, load_benchmark
from compodiff.errors import InputInvalid

_NAMED_MISSING = 3

_GENECIS_QUERIES = {"change-object": 1960, "focus-object": 1960, "change-attribute": 2112, "focus-attribute": 2000}
# Published counts by benchmark, split and part: queries, gallery (None where it is not listed or not known).
PUBLISHED: dict[tuple[str, str, str], tuple[int, int | None]] = {
    ("cirr", "val", ""): (4181, 2297),
    ("cirr", "test1", ""): (4148, 2315),
    ("fashioniq", "val", "dress"): (2017, 3817),
    ("fashioniq", "val", "shirt"): (2038, 6346),
    ("fashioniq", "val", "toptee"): (1961, 5373),
    ("circo", "val", ""): (220, 123_403),
    ("circo", "test", ""): (800, 123_403),
    ("pinpoint", "test", ""): (7635, 109_599),
    ("mbeir", "test", "cirr"): (4170, None),
    ("mbeir", "test", "fashioniq"): (6003, None),
    ("circus", "validated", "cirr"): (303, None),
    ("circus", "validated", "fashioniq"): (586, None),
    ("circus", "validated", "lasco"): (758, None),
    ("circus", "validated", "circo"): (42, None),
    **{("genecis", "val", task): (queries, None) for task, queries in _GENECIS_QUERIES.items()},
    **{(f"genecis-{task}", "val", ""): (queries, None) for task, queries in _GENECIS_QUERIES.items()},
}
# Of benchmarks of many parts: parts and queries of all.
PUBLISHED_IN_ALL = {("icir", "test"): (202, 1883)}
_MANY_PARTS = 12

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
_PINPOINT = (
    "annotations (CC BY 4.0): git clone https://github.com/pinterest/pinpoint-dataset.git; pinpoint_licensed.parquet "
    "and index_signatures.txt",
    "pictures: by their signatures, as its README.md says, into images/SIGNATURE.jpg",
)
_ICIR = (
    "tars and tables (CC BY-NC-SA 4.0): the hub's data set billpsomas/icir; webdataset/ and annotations/",
    "or as folders: icir_v1.0.0.tar.gz of https://github.com/billpsomas/icir; database/, query/ and two tables",
)
_MBEIR = (
    "queries, candidates and judgements (MIT): the hub's data set TIGER-Lab/M-BEIR; query/, cand_pool/, qrels/; the "
    "composed task is number 7",
    "pictures: its mbeir_images.tar.gz, in four pieces to be joined; unpack to mbeir_images/",
)
_CIRCUS = (
    "queries: the release of https://matteoattimonelli.github.io/CIRCUS; final_dataset/ and shortcut_free_subsets/",
    "candidates and pictures: M-BEIR's folders (compodiff benchmark doctor mbeir) beside them or in M-BEIR/; CIRCO and "
    "LaSCo as the release converts them, in circo_mbeir/ and lasco_mbeir/",
)
_TRIPLETS = (
    "yours: gallery/ with pictures or tars of them, and queries.jsonl with one object a line: "
    '{"reference": id, "relative_caption": text, "target": id or "targets": [ids]}',
)
_SOURCES = {
    "cirr": _CIRR,
    "fashioniq": _FASHIONIQ,
    "circo": _CIRCO,
    "pinpoint": _PINPOINT,
    "icir": _ICIR,
    "mbeir": _MBEIR,
    "circus": _CIRCUS,
    "triplets": _TRIPLETS,
}


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
        if len(parts) > _MANY_PARTS:
            yield _check_counts_in_all(parts, PUBLISHED_IN_ALL.get((name, split)))
            yield _check_pictures(parts)
            continue
        for part in parts:
            yield _check_counts(part, PUBLISHED.get((name, split, part.part)))
            yield _check_pictures([part])


def list_sources(name: str) -> tuple[str, ...]:
    """Return where people get what the benchmark needs."""
    if name.startswith("genecis"):
        return _GENECIS
    return _SOURCES[name]


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


def _check_counts_in_all(parts: Sequence[Benchmark], published: tuple[int, int] | None) -> BenchmarkFinding:
    queries = sum(len(part.queries) for part in parts)
    ranked = sum(len(part.gallery or ()) for part in parts)
    found = f"{parts[0].split}: {len(parts):,} parts, {queries:,} queries, galleries of {ranked:,} in all"
    if published in (None, (len(parts), queries)):
        return BenchmarkFinding(True, f"{found}{', as published' if published else ''}")
    return BenchmarkFinding(
        False, f"{found}; published: {published[0]:,} parts, {published[1]:,} queries; another release?"
    )


def _check_pictures(parts: Sequence[Benchmark]) -> BenchmarkFinding:
    """Look which pictures of parts that share them are there."""
    first = parts[0]
    if first.gallery is None and first.protocol.recall_ks:
        what = "neither the gallery's list nor its pictures; `run` needs them, `score` takes the gallery from G.npz"
        return BenchmarkFinding(False, f"{first.split}: {what}")
    named = list(dict.fromkeys(name for part in parts for name in part.named_pictures))
    missing = [name for name in named if not first.pictures.has(name)]
    away = frozenset(missing)
    broken = [name for name in named if name not in away and first.pictures.is_broken(name)]
    label = f"{first.split} {first.part if len(parts) == 1 else ''}".rstrip()
    if not missing and not broken:
        return BenchmarkFinding(True, f"{label}: all {len(named):,} pictures")
    faults = [
        f"{len(names):,} of {len(named):,} pictures {fault} ({', '.join(names[:_NAMED_MISSING])} ...)"
        for names, fault in ((missing, "missing"), (broken, "broken: empty, cut short or no pictures"))
        if names
    ]
    return BenchmarkFinding(False, f"{label}: {'; '.join(faults)}")
