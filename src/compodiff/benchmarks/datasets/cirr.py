"""CIRR rc2: 4,181 validation and 4,148 test1 queries over NLVR2 photographs; the reference leaves its own ranking.

Annotations (MIT): github.com/Cuberick-Orion/CIRR, branch cirr_dataset. Three layouts are in use: the official
`captions/ image_splits/ img_raw/`, `cirr/` annotations beside `dev/ test1/ train/`, and pictures under `images/`.
"""

from pathlib import Path

from compodiff.benchmarks.datasets.annotations import fill_template, find, read_list, take, take_strings
from compodiff.benchmarks.datasets.benchmark import Benchmark, BenchmarkProtocol, BenchmarkQuery
from compodiff.benchmarks.datasets.pictures import FilePictures, strip_suffix
from compodiff.errors import InputInvalid
from compodiff.storage.json_files import read_json
from compodiff.storage.names import is_inside

SPLITS = ("val", "test1", "train")
PROTOCOL = BenchmarkProtocol(recall_ks=(1, 5, 10, 50), candidate_ks=(1, 2, 3), soft=True, excludes_reference=True)
TEMPLATE = "{relative_caption}"
_NESTED = ("cirr", "CIRR", "CIRR/cirr", "cirr_dataset", "data/cirr")


def load_cirr(root: Path, split: str, *, template: str = TEMPLATE) -> list[Benchmark]:
    """Load a split of CIRR from any of its layouts; pictures are not needed.

    Raises:
        InputInvalid: an annotation file is missing, broken or names a picture that the split does not have.
    """
    captions = find(root, f"captions/cap.rc2.{split}.json", _NESTED)
    places = read_json(find(root, f"image_splits/split.rc2.{split}.json", _NESTED), distinct=True)
    if not isinstance(places, dict):
        raise InputInvalid(f"image_splits/split.rc2.{split}.json is not an object of picture name -> path")
    queries = tuple(_make_query(item, f"{captions}: item {i}", template) for i, item in enumerate(read_list(captions)))
    home = captions.parent.parent
    benchmark = Benchmark(
        name="cirr",
        split=split,
        queries=queries,
        protocol=PROTOCOL,
        pictures=FilePictures(lambda name: _list_places(home, root, name, str(places.get(name, "")))),
        gallery=tuple(places),
        settings={"template": template, "gallery_variant": f"all pictures of {split}", "annotations": "rc2"},
    )
    return [benchmark]


def shorten_id(name: str) -> str:
    """Shorten `dev/dev-244-0-img0.png` to the picture's id `dev-244-0-img0`."""
    return strip_suffix(name.rsplit("/", 1)[-1])


def _make_query(item: dict[str, object], where: str, template: str) -> BenchmarkQuery:
    key = str(take(item, "pairid", int, where))
    reference, caption = take(item, "reference", str, where), take(item, "caption", str, where)
    members = take_strings(take(item, "img_set", dict, where), "members", f"{where}: img_set")
    labels = take(item, "target_soft", dict, where) if "target_soft" in item else {}
    return BenchmarkQuery(
        key=key,
        reference=reference,
        relative_caption=caption,
        texts=(fill_template(template, relative_caption=caption),),
        targets=(take(item, "target_hard", str, where),) if "target_hard" in item else (),
        label_weights={name: float(weight) for name, weight in labels.items()},
        candidates=tuple(name for name in members if name != reference),
    )


def _list_places(home: Path, root: Path, name: str, relative: str) -> list[Path]:
    """Return where a picture may lie: under img_raw, beside the annotations or one level up, under images."""
    bases = dict.fromkeys((home / "img_raw", home, home.parent, root, home / "images", root / "images"))
    given = [base / relative for base in bases] if is_inside(relative) else []
    return given + [base / f"{name}.png" for base in (home / "images", root / "images")]
