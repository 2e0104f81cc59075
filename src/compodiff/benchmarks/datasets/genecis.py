"""GeneCIS: four tasks with a small gallery for each query; the target must beat it, and a tie is not a win.

Annotations (CC BY-NC 4.0): github.com/facebookresearch/genecis. Object tasks use COCO val2017 pictures, attribute
tasks crops of Visual Genome pictures.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PIL import Image

from compodiff.benchmarks.datasets.annotations import fill_template, find, read_list, shorten_to_number, take
from compodiff.benchmarks.datasets.benchmark import Benchmark, BenchmarkProtocol, BenchmarkQuery
from compodiff.benchmarks.datasets.pictures import BenchmarkPictures, FilePictures
from compodiff.errors import InputInvalid

SPLITS = ("val",)
TASKS = ("change-object", "focus-object", "change-attribute", "focus-attribute")
PROTOCOL = BenchmarkProtocol(candidate_ks=(1, 2, 3), candidate_metric="recall")
TEMPLATE = "{relative_caption}"
_FARTHEST = 2**31  # pixels, of what a picture may have
DILATION = 0.7
_NESTED = ("genecis", "GeneCIS")

shorten_id = shorten_to_number
Box = tuple[float, float, float, float]


def load_genecis(root: Path, task: str, *, template: str = TEMPLATE) -> list[Benchmark]:
    """Load one of the four tasks; pictures are not needed.

    Raises:
        InputInvalid: the task is unknown, or its file missing or broken.
    """
    if task not in TASKS:
        raise InputInvalid(f"there is no GeneCIS task {task!r}; choose from: {', '.join(TASKS)}")
    path = find(root, f"{task.replace('-', '_')}.json", _NESTED)
    crops: dict[str, tuple[str, Box]] = {}
    queries = tuple(_make_query(it, i, f"{path}: item {i}", crops, template) for i, it in enumerate(read_list(path)))
    files = FilePictures(lambda name: _list_places(root, path.parent, name))
    benchmark = Benchmark(
        name=f"genecis-{task}",
        split="val",
        queries=queries,
        protocol=PROTOCOL,
        pictures=CroppedPictures(files, crops) if crops else files,
        gallery=None,
        aliases={crop_id: name for crop_id, (name, _) in crops.items()},
        settings={"template": template, "gallery_variant": f"{len(queries[0].candidates) if queries else 0} a query"},
    )
    return [benchmark]


@dataclass(frozen=True)
class CroppedPictures:
    """Visual Genome pictures cut to an object as the official evaluation does."""

    files: BenchmarkPictures
    crops: Mapping[str, tuple[str, Box]] = field(default_factory=dict)

    def has(self, picture: str) -> bool:
        """Return whether the picture that the crop is cut from is there."""
        return self.files.has(self.crops[picture][0])

    def stamp(self, picture: str) -> str:
        """Return that of the picture it is cut from."""
        return self.files.stamp(self.crops[picture][0])

    def is_broken(self, picture: str) -> bool:
        """Return whether the picture that the crop is cut from is."""
        return self.files.is_broken(self.crops[picture][0])

    def locate(self, picture: str) -> tuple[Path, int, int] | None:
        """Return nothing: a crop has no bytes of its own."""
        return None

    def read(self, picture: str) -> Image.Image:
        """Read and cut."""
        name, box = self.crops[picture]
        return crop(self.files.read(name), box)


def crop(image: Image.Image, box: Box) -> Image.Image:
    """Cut `box` = (x, y, width, height), dilated, and pad with black to a square.

    The official code dilates to the left and the top only, then lets the enlarged box run from there.
    """
    x, y, width, height = box
    left, top = max(0.0, x - DILATION * width), max(0.0, y - DILATION * height)
    right = min(float(image.width), left + (1 + DILATION) * width)
    bottom = min(float(image.height), top + (1 + DILATION) * height)
    cut = image.convert("RGB").crop((round(left), round(top), round(right), round(bottom)))
    edge = max(cut.size)
    square = Image.new("RGB", (edge, edge))
    square.paste(cut, ((edge - cut.width) // 2, (edge - cut.height) // 2))
    return square


def _make_query(
    item: dict[str, Any], place: int, where: str, crops: dict[str, tuple[str, Box]], template: str
) -> BenchmarkQuery:
    caption = take(item, "condition", str, where)
    gallery = [_name_picture(one, f"{where}: gallery", crops) for one in take(item, "gallery", list, where)]
    target = _name_picture(take(item, "target", dict, where), f"{where}: target", crops)
    return BenchmarkQuery(
        key=str(place),
        reference=_name_picture(take(item, "reference", dict, where), f"{where}: reference", crops),
        relative_caption=caption,
        texts=(fill_template(template, relative_caption=caption),),
        targets=(target,),
        # As in the official list the target comes first, and once more where the gallery repeats it.
        candidates=(target, *gallery),
    )


def _name_picture(one: dict[str, Any], where: str, crops: dict[str, tuple[str, Box]]) -> str:
    """Return the id of a COCO picture, or of a crop of a Visual Genome picture, which is also noted in `crops`."""
    if "val_image_id" in one:
        return str(take(one, "val_image_id", int, where))
    name = str(take(one, "image_id", int, where))
    sides = take(one, "instance_bbox", list, where)
    if len(sides) != 4 or not all(isinstance(side, int | float) and abs(side) < _FARTHEST for side in sides):
        raise InputInvalid(f"{where}: instance_bbox is {sides}, not four numbers x, y, width, height")
    box = (float(sides[0]), float(sides[1]), float(sides[2]), float(sides[3]))
    crop_id = f"{name}@{'_'.join(f'{side:g}' for side in box)}"
    crops[crop_id] = (name, box)
    return crop_id


def _list_places(root: Path, home: Path, name: str) -> list[Path]:
    names = (f"{int(name):012d}.jpg", f"{name}.jpg")
    folders = ("val2017", "coco/val2017", "images", "VG_100K_all", "VG_100K", "VG_100K_2", ".")
    return [base / folder / file for base in dict.fromkeys((root, home)) for folder in folders for file in names]
