"""The field's four benchmarks in every layout that users have, made up: a few pictures, the real file names and keys.

In each the target is the very picture of its reference under another name, and all other pictures are noise. What ranks
by the reference alone therefore finds the target, unless the wrong pictures were read.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from factories import draw_noise
from PIL import Image

from compodiff.storage.atomic import write_json

PAIRS = 3
OTHERS = 14  # more than the ten best, so that a recall at 10 can be missed
CATEGORIES = ("dress", "shirt", "toptee")
BOX = [4, 4, 20, 20]


@dataclass(frozen=True)
class Field:
    """One benchmark in one layout.

    Attributes:
        name: as `compodiff benchmark` takes it.
        layout: where annotations and pictures lie.
        write: writes the annotations under a root; returns the pictures' ids, the pairs first.
        picture: the path of a picture, by its id.
        expected: metrics of the row `image_only`.
    """

    name: str
    layout: str
    write: Callable[[Path], list[str]]
    picture: Callable[[str], str]
    expected: dict[str, float] = field(default_factory=dict)

    def make(self, root: Path) -> list[str]:
        """Write all of it; return the pictures' ids: reference, target, reference, target ... and the others."""
        names = self.write(root)
        for place, name in enumerate(names):
            path = root / self.picture(name)
            path.parent.mkdir(parents=True, exist_ok=True)
            noise(place % (2 * PAIRS + OTHERS)).save(path)
        return names

    def __str__(self) -> str:
        return f"{self.name}: {self.layout}"


def noise(place: int) -> Image.Image:
    """A picture of its own for each place, but one for both of a pair."""
    seed = place // 2 if place < 2 * PAIRS else place
    return draw_noise(seed, 4, 4).resize((48, 40), Image.Resampling.NEAREST)


def pairs(names: list[str]) -> list[tuple[str, str]]:
    """Reference and target of each query."""
    return list(zip(names[: 2 * PAIRS : 2], names[1 : 2 * PAIRS : 2], strict=True))


def cirr(home: str) -> Callable[[Path], list[str]]:
    def write(root: Path) -> list[str]:
        names = [f"dev-{number}-0-img0" for number in range(2 * PAIRS + OTHERS)]
        queries = [
            {
                "pairid": number,
                "reference": reference,
                "target_hard": target,
                "target_soft": {target: 1.0},
                "caption": "the same again",
                "img_set": {"id": number, "members": [reference, target, *names[-4:]]},
            }
            for number, (reference, target) in enumerate(pairs(names))
        ]
        write_json(root / home / "captions/cap.rc2.val.json", queries)
        write_json(root / home / "image_splits/split.rc2.val.json", {name: f"./dev/{name}.png" for name in names})
        return names

    return write


def circo(home: str, *, listed: bool) -> Callable[[Path], list[str]]:
    def write(root: Path) -> list[str]:
        names = [str(number) for number in range(11, 11 + 2 * PAIRS + OTHERS)]
        queries = [
            {
                "id": number,
                "reference_img_id": int(reference),
                "target_img_id": int(target),
                "gt_img_ids": [int(target)],
                "relative_caption": "is the same again",
                "shared_concept": "noise",
                "semantic_aspects": ["addition"],
            }
            for number, (reference, target) in enumerate(pairs(names))
        ]
        write_json(root / home / "annotations/val.json", queries)
        if listed:
            images = {"images": [{"id": int(name)} for name in names]}
            write_json(root / home / "COCO2017_unlabeled/annotations/image_info_unlabeled2017.json", images)
        return names

    return write


def fashioniq(home: str) -> Callable[[Path], list[str]]:
    def write(root: Path) -> list[str]:
        every = []
        for category in CATEGORIES:
            names = [f"{category}{number}" for number in range(2 * PAIRS + OTHERS)]
            queries = [
                {"candidate": reference, "target": target, "captions": ["is the same", "is not another"]}
                for reference, target in pairs(names)
            ]
            write_json(root / home / f"captions/cap.{category}.val.json", queries)
            write_json(root / home / f"image_splits/split.{category}.val.json", names)
            every += names
        return every

    return write


def genecis(home: str, task: str) -> Callable[[Path], list[str]]:
    def one(name: str) -> dict[str, object]:
        if task.endswith("object"):
            return {"val_image_id": int(name)}
        return {"image_id": int(name), "instance_bbox": BOX}

    def write(root: Path) -> list[str]:
        names = [str(number) for number in range(11, 11 + 2 * PAIRS + OTHERS)]
        queries = [
            {
                "condition": "noise",
                "reference": one(reference),
                "target": one(target),
                "gallery": [one(name) for name in names[2 * PAIRS :]],
            }
            for reference, target in pairs(names)
        ]
        write_json(root / home / f"{task.replace('-', '_')}.json", queries)
        return names

    return write


def in_folder(folder: str, suffix: str = ".jpg", digits: int = 0) -> Callable[[str], str]:
    return lambda name: f"{folder}/{name.zfill(digits)}{suffix}"


# The reference leaves CIRR's rankings. In CIRCO's and FashionIQ's it stays, and ties with the target: second.
FIRST = {"recall_at_1": 1.0, "subset_recall_at_1": 1.0}
SECOND = {"recall_at_1": 0.0, "recall_at_5": 1.0, "map_at_5": 0.5}
TENTH = {"recall_at_10": 1.0}
WON = {"recall_at_1": 1.0}
UNLABELED = "COCO2017_unlabeled/unlabeled2017"
FIELDS = [
    Field("cirr", "official, img_raw", cirr("."), in_folder("img_raw/dev", ".png"), FIRST),
    Field("cirr", "CIRR/cirr, CIRR/dev", cirr("CIRR/cirr"), in_folder("CIRR/dev", ".png"), FIRST),
    Field("cirr", "cirr, dev", cirr("cirr"), in_folder("dev", ".png"), FIRST),
    Field("cirr", "images/dev", cirr("."), in_folder("images/dev", ".png"), FIRST),
    Field("cirr", "images", cirr("."), in_folder("images", ".png"), FIRST),
    Field("circo", "official, listed", circo(".", listed=True), in_folder(UNLABELED, digits=12), SECOND),
    Field("circo", "CIRCO", circo("CIRCO", listed=True), in_folder(f"CIRCO/{UNLABELED}", digits=12), SECOND),
    Field("circo", "not listed", circo(".", listed=False), in_folder("unlabeled2017", digits=12), SECOND),
    Field("fashioniq", "official, images", fashioniq("."), in_folder("images"), TENTH),
    Field("fashioniq", "png", fashioniq("."), in_folder("images", ".png"), TENTH),
    Field("fashioniq", "fashion-iq", fashioniq("fashion-iq"), in_folder("fashion-iq/images"), TENTH),
    Field("genecis-change-object", "val2017", genecis(".", "change-object"), in_folder("val2017", digits=12), WON),
    Field(
        "genecis-focus-object", "coco", genecis("genecis", "focus-object"), in_folder("coco/val2017", digits=12), WON
    ),
    Field("genecis-change-attribute", "VG_100K", genecis(".", "change-attribute"), in_folder("VG_100K"), WON),
    Field("genecis-focus-attribute", "all", genecis(".", "focus-attribute"), in_folder("VG_100K_all"), WON),
]
