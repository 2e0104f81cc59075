"""PinPoint: 7,635 queries over 109,599 pictures, with several answers, negatives, paraphrases and pairs of references.

Annotations (CC BY 4.0): github.com/pinterest/pinpoint-dataset. A picture is named by a signature. The metrics are those
of its evaluation: mAP@10 and precision@10; negative recall@10, the part of a query's negatives that is found; and the
spread over queries with the same references, which word one intent in several ways.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from compodiff.benchmarks.datasets.annotations import fill_template, find, read_lines, take, take_strings
from compodiff.benchmarks.datasets.benchmark import Benchmark, BenchmarkProtocol, BenchmarkQuery
from compodiff.benchmarks.datasets.pictures import FilePictures, strip_suffix
from compodiff.errors import InputInvalid
from compodiff.storage.tables import read_column_names, read_rows

SPLITS = ("test",)
PROTOCOL = BenchmarkProtocol(recall_ks=(1, 10), map_ks=(10,), precision_ks=(10,), negative_ks=(10,))
TEMPLATE = "{relative_caption}"
_FILES = ("pinpoint_licensed.parquet", "pinpoint_metadata.parquet")
_NESTED = ("pinpoint", "PinPoint", "pinpoint-dataset")
_NEEDED = ("query_id", "query_image_signature", "instruction", "positive_candidates")
_OPTIONAL = ("query_image_signature2", "negative_candidates", "query_category")
_NONE = ("", "None", "nan")  # how the files say that there is no second picture


def load_pinpoint(root: Path, split: str, *, template: str = TEMPLATE) -> list[Benchmark]:
    """Load PinPoint; pictures are not needed.

    Raises:
        InputInvalid: a file is missing or broken, a query or a signature stands twice, or the template has an unknown
            field.
    """
    path = _find_queries(root)
    listed = tuple(strip_suffix(line) for _, line in read_lines(find(path.parent, "index_signatures.txt")))
    columns = read_column_names(path, remedy="see: compodiff benchmark doctor pinpoint")
    wanted = (*_NEEDED, *(name for name in _OPTIONAL if name in columns))
    rows = read_rows(path, wanted, remedy="see: compodiff benchmark doctor pinpoint")
    queries = tuple(
        query
        for number, row in enumerate(rows, start=1)
        for query in _make_queries(row, f"{path}: row {number}", template)
    )
    judged = frozenset(name for query in queries for name in query.judged)
    unlisted = judged.difference(listed)
    variant = "index_signatures.txt" + (f", without {len(unlisted)} judged pictures" if unlisted else "")
    home = path.parent
    benchmark = Benchmark(
        name="pinpoint",
        split=split,
        queries=_number_paraphrases(queries),
        protocol=PROTOCOL,
        pictures=FilePictures(lambda name: _list_places(home, name)),
        gallery=listed,
        settings={"template": template, "gallery_variant": variant},
        unlisted=unlisted,
    )
    return [benchmark]


def shorten_id(name: str) -> str:
    """Shorten `af/d9/de/afd9de.jpg` to the picture's signature `afd9de`."""
    return strip_suffix(name.rsplit("/", 1)[-1])


def _find_queries(root: Path) -> Path:
    for name in _FILES:
        try:
            return find(root, name, _NESTED)
        except InputInvalid:
            if name == _FILES[-1] or not root.is_dir():
                raise
    raise AssertionError("the last name was returned or refused")


def _make_queries(row: dict[str, Any], where: str, template: str) -> Iterator[BenchmarkQuery]:
    """Yield the query of a row, or one query per instruction where the row lists several."""
    key = _name_query(row["query_id"], where)
    references = (take(row, "query_image_signature", str, where), row.get("query_image_signature2"))
    shown = tuple(name for name in references if isinstance(name, str) and name not in _NONE)
    if not shown:
        raise InputInvalid(f"{where}: query_image_signature is empty")
    instruction = row["instruction"]
    several = isinstance(instruction, list)
    category = row.get("query_category")
    groups = ("one picture" if len(shown) == 1 else "two pictures", *((str(category),) if category else ()))
    for text in take_strings(row, "instruction", where) if several else (take(row, "instruction", str, where),):
        yield BenchmarkQuery(
            key=key,
            reference=shown[0],
            also_references=shown[1:],
            relative_caption=text,
            texts=(fill_template(template, relative_caption=text),),
            targets=_take_candidates(row, "positive_candidates", where),
            negatives=_take_candidates(row, "negative_candidates", where),
            groups=groups,
            concept=" ".join(shown),
            intent=key if several else " ".join(shown),
        )


def _take_candidates(row: dict[str, Any], key: str, where: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(take_strings(row, key, where))) if row.get(key) is not None else ()


def _name_query(value: Any, where: str) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise InputInvalid(f"{where}: query_id is {value!r}, not a string or a number")
    return str(value).zfill(5)


def _number_paraphrases(queries: Sequence[BenchmarkQuery]) -> tuple[BenchmarkQuery, ...]:
    """Give each further wording of a query a key of its own; what stands twice keeps its key, and is refused."""
    wordings: dict[tuple[str, tuple[str, ...]], list[str]] = {}
    numbered = []
    for query in queries:
        known = wordings.setdefault((query.key, query.references), [])
        further = bool(known) and query.relative_caption not in known
        known.append(query.relative_caption)
        numbered.append(replace(query, key=f"{query.key}/{len(known)}") if further else query)
    return tuple(numbered)


def _list_places(home: Path, name: str) -> list[Path]:
    nested = f"{name[:2]}/{name[2:4]}/{name[4:6]}/{name}"
    suffixes = (".jpg", ".png", ".jpeg", ".webp")
    return [home / "images" / f"{place}{suffix}" for place in (name, nested) for suffix in suffixes]
