"""FashionIQ: dress, shirt and toptee, each with its own gallery; the result is the unweighted mean of the three.

Annotations (CDLA): github.com/XiaoxiaoGuo/fashion-iq. Many of the Amazon pictures are gone: 74,381 of 77,684 remain.
In its files `candidate` is the reference.
"""

from pathlib import Path

from compodiff.benchmarks.datasets.annotations import find, read_list, take, take_strings
from compodiff.benchmarks.datasets.benchmark import Benchmark, BenchmarkProtocol, BenchmarkQuery
from compodiff.benchmarks.datasets.pictures import FilePictures, strip_suffix
from compodiff.errors import InputInvalid
from compodiff.storage.json_files import read_json

SPLITS = ("val", "train", "test")
CATEGORIES = ("dress", "shirt", "toptee")
VARIANTS = ("original", "val")
ORDERS = ("both", "first")
PROTOCOL = BenchmarkProtocol(recall_ks=(10, 50))
_NESTED = ("fashion-iq", "fashioniq", "fashionIQ_dataset", "FashionIQ", "fashion_iq")


def load_fashioniq(
    root: Path, split: str, *, category: str | None = None, variant: str = "original", order: str = "both"
) -> list[Benchmark]:
    """Load one category of FashionIQ, or all three as parts; pictures are not needed.

    Args:
        root: the folder that holds captions/ and image_splits/.
        split: val, train or test (whose targets are hidden).
        category: dress, shirt or toptee; None for all.
        variant: the gallery is `original`, all pictures of the split, or `val`, only references and targets.
        order: `both` orders of the two captions are embedded and averaged, or only the `first`.

    Raises:
        InputInvalid: an option is unknown, or an annotation file is missing or broken.
    """
    for value, known, what in ((category or "dress", CATEGORIES, "category"), (variant, VARIANTS, "gallery variant")):
        if value not in known:
            raise InputInvalid(f"there is no {what} {value!r} of fashioniq; choose from: {', '.join(known)}")
    if order not in ORDERS:
        raise InputInvalid(f"there is no caption order {order!r}; choose from: {', '.join(ORDERS)}")
    chosen = (category,) if category else CATEGORIES
    return [_load_category(root, split, name, variant, order) for name in chosen]


def shorten_id(name: str) -> str:
    """Shorten `images/B009PMCJLW.jpg` to the picture's id `B009PMCJLW`."""
    return strip_suffix(name.rsplit("/", 1)[-1])


def join_texts(captions: tuple[str, ...], order: str) -> tuple[str, ...]:
    """Return two captions as "a and b", each stripped of `.?, `; both orders, or the first alone."""
    stripped = [caption.strip(".?, ") for caption in captions]
    orders = (stripped,) if order == "first" else (stripped, stripped[::-1])
    return tuple(" and ".join(parts) for parts in orders)


def _load_category(root: Path, split: str, category: str, variant: str, order: str) -> Benchmark:
    captions = find(root, f"captions/cap.{category}.{split}.json", _NESTED)
    listed = find(root, f"image_splits/split.{category}.{split}.json", _NESTED)
    gallery = read_json(listed)
    if not isinstance(gallery, list) or not all(isinstance(name, str) for name in gallery):
        raise InputInvalid(f"{listed} is not a list of picture names")
    queries = tuple(_make_query(item, i, f"{captions}: item {i}", order) for i, item in enumerate(read_list(captions)))
    home = captions.parent.parent
    if variant == "val":
        used = {name for query in queries for name in (query.reference, *query.targets)}
        gallery = [name for name in gallery if name in used]
    return Benchmark(
        name="fashioniq",
        split=split,
        part=category,
        queries=queries,
        protocol=PROTOCOL,
        pictures=FilePictures(lambda name: _list_places(home, root, category, name)),
        gallery=tuple(gallery),
        settings={"template": f"{{first}} and {{second}}, {order} order(s)", "gallery_variant": variant},
    )


def _make_query(item: dict[str, object], place: int, where: str, order: str) -> BenchmarkQuery:
    captions = take_strings(item, "captions", where)
    return BenchmarkQuery(
        key=str(place),
        reference=take(item, "candidate", str, where),
        relative_caption=" and ".join(captions),
        texts=join_texts(captions, order),
        targets=(take(item, "target", str, where),) if "target" in item else (),
    )


def _list_places(home: Path, root: Path, category: str, name: str) -> list[Path]:
    bases = [base / folder for base in dict.fromkeys((home, root)) for folder in ("images", f"images/{category}", ".")]
    return [base / f"{name}{suffix}" for base in bases for suffix in (".png", ".jpg", ".jpeg")]
