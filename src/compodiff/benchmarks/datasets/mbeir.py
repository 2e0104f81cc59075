"""M-BEIR's layout, and CIRCUS, which keeps those of its queries that no retriever solves by one modality.

M-BEIR (MIT): the hub's data set TIGER-Lab/M-BEIR, of which the composed task is number 7; a part for each data set.
CIRCUS: matteoattimonelli.github.io/CIRCUS; its queries have M-BEIR's fields, its pictures lie in M-BEIR's folders.
Recall@K counts a query whose K best hold any of its positives; the reference stays in the ranking.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from compodiff.benchmarks.datasets.annotations import fill_template, find, read_lines, take, take_strings
from compodiff.benchmarks.datasets.benchmark import Benchmark, BenchmarkProtocol, BenchmarkQuery, require_distinct
from compodiff.benchmarks.datasets.pictures import FilePictures
from compodiff.errors import InputInvalid
from compodiff.storage.json_files import read_json_lines
from compodiff.storage.names import is_inside

SPLITS = ("test", "val", "train")
CIRCUS_SPLITS = {
    "validated": ("validated_solved", "validated_unsolved"),
    "validated_solved": ("validated_solved",),
    "validated_unsolved": ("validated_unsolved",),
    "shortcut_free": ("shortcut_free",),
    "composition_required": ("composition_required",),
    "unresolved": ("unresolved",),
}
PROTOCOL = BenchmarkProtocol(recall_ks=(1, 5, 10, 50))
TEMPLATE = "{relative_caption}"
_NESTED = ("M-BEIR", "mbeir", "M_BEIR")
_CIRCUS_FOLDERS = ("final_dataset/query_jsonl", "shortcut_free_subsets")
_TASK = "_task7"


def load_mbeir(root: Path, split: str, *, dataset: str | None = None, template: str = TEMPLATE) -> list[Benchmark]:
    """Load the composed task of M-BEIR's data sets, or of one; pictures are not needed.

    Raises:
        InputInvalid: there is no such data set, a file is missing or broken, an id stands twice, a candidate is no
            picture, or the template has an unknown field.
    """
    folder = find(root, f"query/{split}", _NESTED)
    files = {_name_dataset(path): [("", path)] for path in sorted(folder.glob(f"mbeir_*{_TASK}_{split}.jsonl"))}
    chosen = _choose(files, dataset, f"{folder} has no mbeir_NAME{_TASK}_{split}.jsonl")
    return [_make_part("mbeir", split, name, files[name], root, template) for name in chosen]


def load_circus(root: Path, split: str, *, dataset: str | None = None, template: str = TEMPLATE) -> list[Benchmark]:
    """Load CIRCUS' queries about its data sets, or one; candidates and pictures are those of M-BEIR's folders.

    Raises:
        InputInvalid: as of `load_mbeir`.
    """
    if not root.is_dir():
        raise InputInvalid(f"{root} is not a folder; give the benchmark's folder with --root")
    labels = CIRCUS_SPLITS[split]
    files: dict[str, list[tuple[str, Path]]] = {}
    for label in labels:
        for folder in (root / base for base in (*_CIRCUS_FOLDERS, ".")):
            for path in sorted(folder.glob(f"*/{label}/mbeir_*.jsonl")):
                if not path.name.endswith(".trace.jsonl"):
                    files.setdefault(path.parent.parent.name, []).append((label, path))
    chosen = _choose(files, dataset, f"{root} holds no queries of {split}; see: compodiff benchmark doctor circus")
    return [_make_part("circus", split, name, files[name], root, template) for name in chosen]


def shorten_id(name: str) -> str:
    """Keep a candidate's id, such as `7:12`."""
    return name


def _name_dataset(path: Path) -> str:
    return path.name.removeprefix("mbeir_").partition(_TASK)[0]


def _choose(files: Mapping[str, object], dataset: str | None, nothing: str) -> Sequence[str]:
    if not files:
        raise InputInvalid(nothing)
    if dataset is not None and dataset not in files:
        raise InputInvalid(f"there is no data set {dataset!r}; choose from: {', '.join(sorted(files))}")
    return [dataset] if dataset else sorted(files)


def _make_part(
    name: str, split: str, dataset: str, files: Sequence[tuple[str, Path]], root: Path, template: str
) -> Benchmark:
    pool_at, home = _find_pool(root, dataset, split)
    pool = _read_pool(pool_at)
    ids = {path: did for did, path in reversed(pool.items())}  # of two ids of one picture the first
    qrels = _read_qrels(home / f"qrels/{split}/mbeir_{dataset}{_TASK}_{split}_qrels.txt")
    queries = tuple(
        _make_query(item, f"{path}: line {line}", label, ids, qrels, template)
        for label, path in files
        for line, item in read_json_lines(path)
    )
    places = pool | {query.reference: query.reference for query in queries if query.reference not in pool}
    return Benchmark(
        name=name,
        split=split,
        part=dataset,
        queries=queries,
        protocol=PROTOCOL,
        pictures=FilePictures(lambda did: [home / places[did]] if is_inside(places.get(did, "..")) else []),
        gallery=tuple(pool),
        settings={"template": template, "gallery_variant": f"the pool of {dataset}"},
    )


def _make_query(
    item: dict[str, object],
    where: str,
    label: str,
    ids: Mapping[str, str],
    qrels: Mapping[str, Sequence[str]],
    template: str,
) -> BenchmarkQuery:
    key, caption = take(item, "qid", str, where), take(item, "query_txt", str, where)
    path = take(item, "query_img_path", str, where)
    positives = tuple(qrels[key]) if key in qrels else take_strings(item, "pos_cand_list", where)
    if not positives:
        raise InputInvalid(f"{where}: query {key} has no positive candidate")
    return BenchmarkQuery(
        key=key,
        reference=ids.get(path, path),
        relative_caption=caption,
        texts=(fill_template(template, relative_caption=caption),),
        targets=tuple(dict.fromkeys(positives)),
        groups=(label,) if label else (),
    )


def _find_pool(root: Path, dataset: str, split: str) -> tuple[Path, Path]:
    """Return the file of a data set's candidates and the folder that its paths begin at."""
    names = (
        f"cand_pool/local/mbeir_{dataset}{_TASK}_cand_pool.jsonl",
        f"cand_pool/local/mbeir_{dataset}{_TASK}_{split}_cand_pool.jsonl",
        f"cand_pool/mbeir_{dataset}{_TASK}_cand_pool.jsonl",
        f"cand_pool/{dataset}{_TASK}.jsonl",
    )
    homes = [root / folder for folder in (".", *_NESTED, dataset, f"{dataset}_mbeir", f"mbeir_{dataset}")]
    for home in homes:
        for name in names:
            if (home / name).is_file():
                return home / name, home
    raise InputInvalid(f"{names[0]} is not in {root}; see where to get it with: compodiff benchmark doctor mbeir")


def _read_pool(path: Path) -> dict[str, str]:
    """Return the picture's path by the candidate's id."""
    found: list[tuple[str, str]] = []
    for line, item in read_json_lines(path):
        where = f"{path}: line {line}"
        did = take(item, "did", str, where)
        if not isinstance(item.get("img_path"), str):
            raise InputInvalid(f"{where}: candidate {did} is no picture; only pictures are ranked")
        found.append((did, take(item, "img_path", str, where)))
    require_distinct([did for did, _ in found], f"{path}: candidate")
    return dict(found)


def _read_qrels(path: Path) -> dict[str, list[str]]:
    """Return the positives of each query, of lines `qid 0 did relevance task`; nothing where there is no file."""
    positives: dict[str, list[str]] = {}
    for line, text in read_lines(path) if path.is_file() else ():
        fields = text.split()
        if len(fields) < 4 or not fields[3].lstrip("-").isdecimal():
            raise InputInvalid(f"{path}: line {line} is {text[:60]!r}, not: qid 0 did relevance")
        if int(fields[3]) > 0:
            positives.setdefault(fields[0], []).append(fields[2])
    return positives
