"""Import of LaSCo."""

import json

import pytest
from factories import encode_picture, make_importer

from compodiff.errors import InputInvalid
from compodiff.interchange import lasco
from compodiff.interchange.formats import ForeignSet, import_triplets
from compodiff.storage import shards

pytestmark = pytest.mark.usefixtures("one_process")


def test_lasco_takes_its_captions_from_coco(tmp_path, encoder_folder):
    pictures = tmp_path / "coco" / "val2014"
    pictures.mkdir(parents=True)
    for number, colour in ((28714, "red"), (277005, "blue")):
        (pictures / f"COCO_val2014_{number:012d}.jpg").write_bytes(encode_picture(colour, "JPEG"))
    ends = [[number, f"val2014/COCO_val2014_{number:012d}.jpg"] for number in (28714, 277005)]
    triplet = {"qid": 28714000, "query-image": ends[0], "query-text": "The person rides", "target-image": ends[1]}
    annotations, captions = tmp_path / "lasco_train.json", tmp_path / "captions_val2014.json"
    annotations.write_text(json.dumps([triplet]))
    said = [{"id": 2, "image_id": 28714, "caption": "A late one."}, {"id": 1, "image_id": 28714, "caption": "A man."}]
    said.append({"id": 3, "image_id": 277005, "caption": "A bike."})
    captions.write_text(json.dumps({"annotations": said}))
    source = ForeignSet(tmp_path / "coco", "lasco", annotations=annotations, captions=(captions,))
    import_triplets(source, make_importer(encoder_folder), tmp_path / "back")
    (row,) = shards.read_table(tmp_path / "back" / "manifest.parquet").to_dict("records")
    assert (row["reference_caption"], row["target_caption"]) == ("A man.", "A bike.")
    assert (row["relative_caption"], row["relation"]) == ("The person rides", "written")
    captions.write_text(json.dumps({"annotations": said[:2]}))
    with pytest.raises(InputInvalid, match=r"LaSCo triplet 28714000: no caption of picture 277005; give --captions"):
        import_triplets(source, make_importer(encoder_folder), tmp_path / "again")
    with pytest.raises(InputInvalid, match="LaSCo has no captions; give --annotations"):
        import_triplets(ForeignSet(tmp_path / "coco", "lasco"), make_importer(encoder_folder), tmp_path / "again")


def test_faults_of_lasco_are_named(tmp_path):
    good = {"qid": 1, "query-image": [2, "a.jpg"], "query-text": "x", "target-image": [3, "b.jpg"]}
    annotations, captions = tmp_path / "lasco.json", tmp_path / "captions.json"
    for bad, fault in (
        (good | {"query-image": "a.jpg"}, r"triplet 0 has the query-image 'a\.jpg', not \[number, file\]"),
        ("x", "triplet 0 has no qid, query-image"),
    ):
        annotations.write_text(json.dumps([bad]))
        with pytest.raises(InputInvalid, match=fault):
            lasco.read_triplets(annotations)
    captions.write_text(json.dumps({"annotations": [{"image_id": 2, "caption": "a dog"}]}))
    with pytest.raises(InputInvalid, match=r"captions\.json: a caption has no id, image_id or caption"):
        lasco.read_captions([captions])
