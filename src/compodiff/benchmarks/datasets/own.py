"""A benchmark of your own: a folder with `gallery/` (pictures, or tars of them) and `queries.jsonl`.

One JSON object a line: {"reference": id, "relative_caption": text, "target": id or "targets": [ids], and, as you like,
"group", "concept", "negative", "mask", "edited", "references": [further references], "negatives": [ids that should not
be found], "intent": what its paraphrases share}. An id is a picture's name in gallery/, with or without its suffix.
`queries.SPLIT.jsonl` is taken before `queries.jsonl`.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

from compodiff.benchmarks.datasets.annotations import fill_template, find, take, take_strings
from compodiff.benchmarks.datasets.benchmark import Benchmark, BenchmarkProtocol, BenchmarkQuery
from compodiff.benchmarks.datasets.pictures import GalleryFolder, strip_suffix
from compodiff.errors import InputInvalid
from compodiff.storage.json_files import read_json_lines

PROTOCOL = BenchmarkProtocol(recall_ks=(1, 5, 10, 50), map_ks=(5, 10, 25, 50), excludes_reference=True)
TEMPLATE = "{relative_caption}"

shorten_id = strip_suffix


def load_triplets(root: Path, split: str, *, template: str = TEMPLATE) -> list[Benchmark]:
    """Load a `triplets` folder; without gallery/ the gallery is whatever pictures the embeddings name.

    Raises:
        InputInvalid: no queries file, a line that is not JSON, a query without target, with both of its keys, or whose
            target is its reference, or two pictures of one name.
    """
    path = _find_queries_file(root, split)
    queries = tuple(_make_query(item, f"{path}: line {line}", line, template) for line, item in read_json_lines(path))
    folder = root / "gallery"
    pictures = GalleryFolder.scan(folder)
    if folder.is_dir() and not pictures.ids:
        raise InputInvalid(f"{folder} holds no picture; put pictures or tars of pictures there")
    # With those that the queries name: one that is not in the folder is missing from it, not another gallery.
    judged = (name for query in queries for name in query.judged)
    benchmark = Benchmark(
        name="triplets",
        split=split,
        queries=queries,
        protocol=replace(PROTOCOL, negative_ks=(10,)) if any(query.negatives for query in queries) else PROTOCOL,
        pictures=pictures,
        gallery=tuple(sorted({*pictures.ids, *judged})) if folder.is_dir() else None,
        settings={"template": template, "gallery_variant": "gallery/" if folder.is_dir() else "of the embeddings"},
    )
    return [benchmark]


def _find_queries_file(root: Path, split: str) -> Path:
    of_split = root / f"queries.{split}.jsonl"
    return of_split if of_split.is_file() else find(root, "queries.jsonl")


def _make_query(item: dict[str, Any], where: str, line: int, template: str) -> BenchmarkQuery:
    reference = strip_suffix(take(item, "reference", str, where))
    caption = take(item, "relative_caption", str, where)
    if "target" in item and "targets" in item:
        raise InputInvalid(f"{where} has both target and targets; put all of them into targets")
    named = take_strings(item, "targets", where) if "targets" in item else (take(item, "target", str, where),)
    targets = tuple(dict.fromkeys(strip_suffix(name) for name in named))
    if not targets:
        raise InputInvalid(f"{where}: targets is empty; name at least one picture")
    further = _take_ids(item, "references", where)
    if shown := next((name for name in (reference, *further) if name in targets), None):
        raise InputInvalid(f"{where}: {shown!r} is both reference and target; the reference is never ranked")
    group = take(item, "group", str, where) if "group" in item else ""
    return BenchmarkQuery(
        key=str(line),
        reference=reference,
        relative_caption=caption,
        texts=(fill_template(template, relative_caption=caption),),
        targets=targets,
        groups=(group,) if group else (),
        concept=take(item, "concept", str, where) if "concept" in item else "",
        negative=take(item, "negative", str, where) if "negative" in item else "",
        mask=take(item, "mask", str, where) if "mask" in item else "",
        edited=take(item, "edited", str, where) if "edited" in item else "",
        also_references=further,
        negatives=_take_ids(item, "negatives", where),
        intent=take(item, "intent", str, where) if "intent" in item else "",
    )


def _take_ids(item: dict[str, Any], key: str, where: str) -> tuple[str, ...]:
    names = take_strings(item, key, where) if key in item else ()
    return tuple(dict.fromkeys(strip_suffix(name) for name in names))
