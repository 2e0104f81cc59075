"""LaSCo (arXiv 2303.09429): triplets of COCO pictures in one JSON file, without captions; COCO has these."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from compodiff.errors import InputInvalid
from compodiff.images.files import read_regular
from compodiff.interchange.records import Record
from compodiff.storage.json_files import read_json


def read_triplets(annotations: Path) -> list[dict[str, Any]]:
    """Read lasco_train.json or lasco_val.json.

    Raises:
        InputInvalid: the file is missing, no JSON, or a triplet lacks a field.
    """
    triplets = read_json(annotations)
    if not isinstance(triplets, list):
        raise InputInvalid(f"{annotations} is no list of triplets; take lasco_train.json or lasco_val.json")
    for number, triplet in enumerate(triplets):
        where = f"{annotations}: triplet {number}"
        missing = {"qid", "query-image", "query-text", "target-image"} - set(
            triplet if isinstance(triplet, dict) else ()
        )
        if missing:
            raise InputInvalid(f"{where} has no {', '.join(sorted(missing))}; fetch it again")
        for role in ("query-image", "target-image"):
            if not (isinstance(triplet[role], list) and len(triplet[role]) == 2 and isinstance(triplet[role][0], int)):
                raise InputInvalid(f"{where} has the {role} {triplet[role]!r}, not [number, file]; fetch it again")
    return triplets


def read_captions(files: Sequence[Path]) -> dict[int, str]:
    """Read COCO's caption files: picture id -> its first caption.

    Raises:
        InputInvalid: a file is missing or holds no captions.
    """
    captions: dict[int, str] = {}
    for path in files:
        content = read_json(path)
        if not isinstance(content, dict) or "annotations" not in content:
            raise InputInvalid(f"{path} holds no captions of COCO; take captions_train2014.json")
        try:
            for annotation in sorted(content["annotations"], key=lambda each: int(each["id"])):
                captions.setdefault(int(annotation["image_id"]), str(annotation["caption"]).strip())
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise InputInvalid(
                f"{path}: a caption has no id, image_id or caption ({error!r}); fetch it again"
            ) from error
    return captions


def read_records(
    triplets: Sequence[Mapping[str, Any]], pictures: Path, captions: Mapping[int, str]
) -> Iterator[Record]:
    """Yield triplets with their pictures.

    Raises:
        InputInvalid: a picture is not there, or has no caption.
    """
    for triplet in triplets:
        name = f"LaSCo triplet {triplet['qid']}"
        ends = {}
        for role in ("query-image", "target-image"):
            number, file = triplet[role]
            if int(number) not in captions:
                raise InputInvalid(f"{name}: no caption of picture {number}; give --captions both of train and val2014")
            ends[role] = (_read_picture(pictures / str(file), name), captions[int(number)])
        yield Record(
            name=name,
            key=f"{triplet['qid']}-{triplet['target-image'][0]}",
            reference=ends["query-image"][0],
            target=ends["target-image"][0],
            texts={
                "reference_caption": ends["query-image"][1],
                "target_caption": ends["target-image"][1],
                "relative_caption": str(triplet["query-text"]).strip(),
            },
        )


def _read_picture(path: Path, name: str) -> bytes:
    try:
        return read_regular(path)[1]
    except InputInvalid as error:
        raise InputInvalid(f"{name}: {path} cannot be read ({error}); unpack COCO's pictures there") from error
