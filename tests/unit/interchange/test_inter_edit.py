"""Inter-Edit: its pictures, masks and boxes, in tars as it is published and in one list of paths."""

import io
import json

import numpy as np
import pytest
from PIL import Image
from worlds.foreign import BLUE, RED, bring, draw, rows_of, see, write_lines, write_pictures, write_tar

from compodiff.errors import InputInvalid


def cells(row: dict) -> np.ndarray:
    return np.unpackbits(np.frombuffer(row["mask"], np.uint8)).reshape(64, 64).astype(bool)


INTER_EDIT = {
    "sample_id": 4001,
    "source_id": 2500,
    "edit_type": "Add",
    "instruction": "Add a glowing pair of chopsticks",
    "better_data": True,
    "bounding_box": [480, 0, 970, 960],  # imprecise, and drawn on a picture of another size
    "bbox_reference_dimensions": {"width": 960, "height": 960},
    "source_archive": "source-00001-of-00245.tar",
    "source_file": "sources/source_0002500.png",
    "asset_archive": "asset-00001-of-00275.tar",
    "target_file": "targets/target_0004001.png",
    "mask_file": "masks/mask_0004001.png",
}


def test_inter_edit_finds_its_pictures_and_masks_in_two_kinds_of_tars(tmp_path):
    red, blue, lower = (draw(colour, "PNG", (16, 16)) for colour in ("red", "blue", "black"))
    half = np.zeros((16, 16), np.uint8)
    half[8:] = 255
    stream = io.BytesIO()
    Image.fromarray(half).save(stream, "PNG")
    files = {"targets/target_0004001.png": blue, "masks/mask_0004001.png": stream.getvalue()}
    files |= {"targets/target_0004002.png": lower}
    write_tar(tmp_path / "asset_shards" / INTER_EDIT["asset_archive"], files)
    write_tar(tmp_path / "source_shards" / INTER_EDIT["source_archive"], {INTER_EDIT["source_file"]: red})
    boxed = INTER_EDIT | {"sample_id": 4002, "target_file": "targets/target_0004002.png", "mask_file": None}
    write_lines(tmp_path / "metadata" / "train-00001-of-00275.jsonl.gz", [INTER_EDIT, boxed])
    found, _ = bring(tmp_path / "metadata", "inter-edit", tmp_path / "set", pictures=tmp_path)
    masked, other = rows_of(found)
    assert (masked["key"], masked["split"], masked["relation"]) == ("4001", "train", "Add")
    assert masked["relative_captions"] == ["Add a glowing pair of chopsticks"]
    assert [see(found, masked[end]) for end in ("reference", "target")] == [red, blue]
    assert cells(masked)[32:].all()
    assert not cells(masked)[:32].any()
    assert cells(other)[:, 32:].all()
    assert not cells(other)[:, :32].any()


def test_inter_edit_may_be_one_list_of_paths(tmp_path):
    files = {f"images/{name}/sample_0001.png": draw(name_of, "PNG") for name, name_of in (("source", "red"),)}
    files |= {"images/target/sample_0001.png": BLUE, "images/mask/sample_0001.png": draw("white", "PNG")}
    write_pictures(tmp_path, files)
    ends = {f"{end}_image_path": f"images/{folder}/sample_0001.png" for end, folder in PLACES.items()}
    kept = {name: INTER_EDIT[name] for name in ("edit_type", "instruction", "bounding_box", "better_data")}
    (tmp_path / "Inter-Edit-train.json").write_text(json.dumps([kept | ends]))
    found, _ = bring(tmp_path / "Inter-Edit-train.json", "inter-edit", tmp_path / "set")
    (row,) = rows_of(found)
    assert see(found, row["target"]) == BLUE
    assert cells(row).all()


PLACES = {"original": "source", "edited": "target", "mask": "mask"}


@pytest.mark.parametrize("size", [{"width": 960}, [0, 1], "wide"])
def test_a_size_of_boxes_that_is_none_is_named(tmp_path, size):
    write_pictures(tmp_path, {"a.jpg": RED, "b.jpg": BLUE})
    row = {"source_image": "a.jpg", "target_image": "b.jpg", "edit": "x", "mask_box": [0, 0, 1, 1]}
    path = write_lines(tmp_path / "inter.jsonl", [row | {"bbox_reference_dimensions": size}])
    with pytest.raises(InputInvalid, match=r"row 1: has the mask_box_size .*, not width and height in pixels"):
        bring(path, "inter-edit", tmp_path / "set")
