"""CIRCO: 220 validation and 800 test queries over the 123,403 unlabeled pictures of COCO 2017, several truths each.

Annotations (CC BY-NC 4.0): github.com/miccunifi/CIRCO. The reference stays in the ranking. The text template, and
whether it names the shared concept, moves the score by many points: it is a setting and stands in the result.
"""

from collections.abc import Iterator
from pathlib import Path

from compodiff.benchmarks.datasets.annotations import fill_template, find, read_list, shorten_to_number, take
from compodiff.benchmarks.datasets.benchmark import Benchmark, BenchmarkProtocol, BenchmarkQuery
from compodiff.benchmarks.datasets.pictures import FilePictures
from compodiff.images import list_pictures
from compodiff.storage.json_files import read_json

SPLITS = ("val", "test")
PROTOCOL = BenchmarkProtocol(recall_ks=(1, 5, 10, 25, 50), map_ks=(5, 10, 25, 50))
TEMPLATE = "a photo of {shared_concept} that {relative_caption}"
VAL_QUERIES = 220
_NESTED = ("CIRCO", "circo")
_COCO = ("COCO2017_unlabeled", ".")

shorten_id = shorten_to_number


def load_circo(root: Path, split: str, *, template: str = TEMPLATE) -> list[Benchmark]:
    """Load a split of CIRCO; pictures are not needed.

    The gallery is COCO's own list of unlabeled pictures where it lies beside the annotations, then the pictures in
    the folder, and otherwise left to the embeddings.

    Raises:
        InputInvalid: an annotation file is missing or broken, or the template has an unknown field.
    """
    path = find(root, f"annotations/{split}.json", _NESTED)
    home = path.parent.parent
    queries = tuple(_make_query(item, f"{path}: item {i}", template) for i, item in enumerate(read_list(path)))
    named = {name for query in queries for name in (query.reference, *query.targets, *query.also_relevant)}
    gallery, variant = _read_gallery(home, named)
    benchmark = Benchmark(
        name="circo",
        split=split,
        queries=queries,
        protocol=PROTOCOL,
        pictures=FilePictures(lambda name: _list_places(home, name)),
        gallery=gallery,
        settings={"template": template, "gallery_variant": variant},
    )
    return [benchmark]


def _make_query(item: dict[str, object], where: str, template: str) -> BenchmarkQuery:
    caption, concept = take(item, "relative_caption", str, where), take(item, "shared_concept", str, where)
    text = fill_template(template, relative_caption=caption, shared_concept=concept)
    target = str(take(item, "target_img_id", int, where)) if "target_img_id" in item else ""
    truths = take(item, "gt_img_ids", list, where) if "gt_img_ids" in item else []
    return BenchmarkQuery(
        key=str(take(item, "id", int, where)),
        reference=str(take(item, "reference_img_id", int, where)),
        relative_caption=caption,
        texts=(text,),
        targets=(target,) if target else (),
        also_relevant=tuple(str(truth) for truth in truths if str(truth) != target),
        groups=tuple(map(str, take(item, "semantic_aspects", list, where))) if "semantic_aspects" in item else (),
    )


def _read_gallery(home: Path, named: set[str]) -> tuple[tuple[str, ...] | None, str]:
    for folder in _COCO:
        listed = home / folder / "annotations" / "image_info_unlabeled2017.json"
        if listed.is_file():
            images = take(read_json(listed), "images", list, str(listed))
            return tuple(str(take(image, "id", int, str(listed))) for image in images), "COCO 2017 unlabeled, listed"
        pictures = home / folder / "unlabeled2017"
        if pictures.is_dir():
            # With those that the queries name: one that is not in the folder is missing from it, not another gallery.
            there = {shorten_to_number(path.name) for path in list_pictures(pictures).files if path.suffix == ".jpg"}
            return tuple(sorted(there | named)), "pictures in unlabeled2017"
    return None, "pictures of the embeddings"


def _list_places(home: Path, name: str) -> Iterator[Path]:
    for folder in _COCO:
        yield home / folder / "unlabeled2017" / f"{int(name):012d}.jpg"
