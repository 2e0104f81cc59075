"""Layouts of made-up annotations, and the counts of the official ones."""

import shutil

import pytest
from PIL import Image

from compodiff.benchmarks.datasets.circo import load_circo
from compodiff.benchmarks.datasets.cirr import load_cirr
from compodiff.benchmarks.datasets.fashioniq import join_texts, load_fashioniq
from compodiff.benchmarks.datasets.genecis import crop, load_genecis
from compodiff.benchmarks.datasets.loading import BenchmarkChoices, load_benchmark
from compodiff.errors import InputInvalid
from compodiff.storage.atomic import write_json

CIRR_QUERY = {
    "pairid": 7,
    "reference": "dev-a",
    "target_hard": "dev-b",
    "target_soft": {"dev-b": 1.0, "dev-c": 0.5},
    "caption": "with snow",
    "img_set": {"id": 1, "members": ["dev-a", "dev-b", "dev-c"]},
}


def write_cirr(home):
    write_json(home / "captions/cap.rc2.val.json", [CIRR_QUERY])
    write_json(home / "image_splits/split.rc2.val.json", {f"dev-{x}": f"./dev/dev-{x}.png" for x in "abcd"})


def draw(path, colour="red", size=(8, 8)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).save(path)


@pytest.mark.parametrize(
    ("home", "picture"),
    [
        (".", "img_raw/dev/dev-a.png"),
        ("CIRR/cirr", "CIRR/dev/dev-a.png"),
        ("cirr", "dev/dev-a.png"),
        (".", "images/dev/dev-a.png"),
        (".", "images/dev-a.png"),
    ],
)
def test_cirr_in_each_layout(tmp_path, home, picture):
    write_cirr(tmp_path / home)
    draw(tmp_path / picture)
    (benchmark,) = load_cirr(tmp_path, "val")
    (query,) = benchmark.queries
    assert benchmark.gallery == ("dev-a", "dev-b", "dev-c", "dev-d")
    assert (query.key, query.reference, query.targets) == ("7", "dev-a", ("dev-b",))
    assert query.candidates == ("dev-b", "dev-c")  # the reference leaves its own image set
    assert benchmark.pictures.read("dev-a").getpixel((0, 0)) == (255, 0, 0)
    assert not benchmark.pictures.has("dev-b")


def test_fashioniq_texts_are_stripped_and_embedded_in_both_orders():
    assert join_texts((" is red?", "long, "), "both") == ("is red and long", "long and is red")
    assert join_texts((" is red?", "long, "), "first") == ("is red and long",)


@pytest.mark.parametrize("home", [".", "fashion-iq"])
def test_fashioniq_galleries(tmp_path, home):
    for category in ("dress", "shirt", "toptee"):
        query = {"candidate": "A", "target": "B", "captions": ["is red", "is long"]}
        write_json(tmp_path / home / f"captions/cap.{category}.val.json", [query])
        write_json(tmp_path / home / f"image_splits/split.{category}.val.json", ["A", "B", "C"])
    draw(tmp_path / home / "images/A.jpg")
    parts = load_fashioniq(tmp_path, "val")
    assert [part.part for part in parts] == ["dress", "shirt", "toptee"]
    assert parts[0].gallery == ("A", "B", "C")
    assert parts[0].pictures.has("A")
    (part,) = load_fashioniq(tmp_path, "val", category="shirt", variant="val")
    assert part.gallery == ("A", "B")


def test_circo_template_is_a_setting_and_the_gallery_cocos_own(tmp_path):
    query = {
        "id": 0,
        "reference_img_id": 5,
        "target_img_id": 6,
        "gt_img_ids": [6, 7],
        "relative_caption": "is at night",
        "shared_concept": "a cat",
        "semantic_aspects": ["addition"],
    }
    write_json(tmp_path / "annotations/val.json", [query])
    (benchmark,) = load_circo(tmp_path, "val")
    assert benchmark.gallery is None
    assert benchmark.queries[0].texts == ("a photo of a cat that is at night",)
    assert (benchmark.queries[0].targets, benchmark.queries[0].also_relevant) == (("6",), ("7",))
    listed = {"images": [{"id": number} for number in (5, 6, 7, 8)]}
    write_json(tmp_path / "COCO2017_unlabeled/annotations/image_info_unlabeled2017.json", listed)
    draw(tmp_path / "COCO2017_unlabeled/unlabeled2017/000000000005.jpg")
    (benchmark,) = load_circo(tmp_path, "val", template="{relative_caption}")
    assert benchmark.gallery == ("5", "6", "7", "8")
    assert benchmark.queries[0].texts == ("is at night",)
    assert benchmark.settings["template"] == "{relative_caption}"
    assert benchmark.pictures.has("5")
    with pytest.raises(InputInvalid, match=r"\{colour\}; its fields are \{relative_caption\} and \{shared_concept\}"):
        load_circo(tmp_path, "val", template="{colour}")


def test_genecis_attribute_crops_are_named_by_picture_and_box(tmp_path):
    def one(number):
        return {"image_id": number, "instance_bbox": [4, 2, 10, 10]}

    item = {"condition": "colour", "reference": one(1), "target": one(2), "gallery": [one(3), one(4)]}
    write_json(tmp_path / "genecis/focus_attribute.json", [item])
    for number in (1, 2):
        draw(tmp_path / f"VG_100K/{number}.jpg", size=(32, 24))
    (benchmark,) = load_genecis(tmp_path, "focus-attribute")
    assert benchmark.queries[0].candidates == ("2@4_2_10_10", "3@4_2_10_10", "4@4_2_10_10")
    assert benchmark.aliases["2@4_2_10_10"] == "2"
    # left = max(0, 4 - 7), top = max(0, 2 - 7), 17 pixels on: already square
    assert benchmark.pictures.read("1@4_2_10_10").size == (17, 17)


def test_genecis_crop_dilates_to_the_left_and_top_only_and_pads_with_black():
    image = Image.new("RGB", (100, 60), "white")
    for x in range(50, 60):
        for y in range(20, 40):
            image.putpixel((x, y), (255, 0, 0))
    cut = crop(image, (50, 20, 10, 20))
    # left 43, top 6, right 60, bottom 40: 17 x 34, centred on a black square of 34
    assert cut.size == (34, 34)
    assert cut.getpixel((7, 20)) == cut.getpixel((33, 20)) == (0, 0, 0)
    assert cut.getpixel((8, 20)) == (255, 255, 255)
    assert cut.getpixel((8 + 7, 14)) == (255, 0, 0)  # the box begins 7 right and 14 below the cut's corner
    assert cut.getpixel((8 + 16, 33)) == (255, 0, 0)  # and reaches its right and lower edge


@pytest.mark.parametrize(
    ("name", "split", "counts"),
    [
        ("cirr", "val", [(4181, 2297)]),
        ("cirr", "test1", [(4148, 2315)]),
        ("fashioniq", "val", [(2017, 3817), (2038, 6346), (1961, 5373)]),
        ("circo", "val", [(220, None)]),
        ("circo", "test", [(800, None)]),
        ("genecis-change-object", "val", [(1960, None)]),
        ("genecis-focus-object", "val", [(1960, None)]),
    ],
)
def test_official_counts(annotations, name, split, counts):
    parts = load_benchmark(name, annotations / name.split("-")[0], split, BenchmarkChoices())
    assert [(len(part.queries), part.gallery and len(part.gallery)) for part in parts] == counts


def test_official_fashioniq_union_galleries(annotations):
    parts = load_benchmark("fashioniq", annotations / "fashioniq", "val", BenchmarkChoices(gallery_variant="val"))
    assert [len(part.gallery or ()) for part in parts] == [2628, 3089, 2902]


@pytest.mark.parametrize("home", ["cirr", "CIRR/cirr", "images-beside"])
def test_official_cirr_in_other_layouts(annotations, tmp_path, home):
    place = tmp_path if home == "images-beside" else tmp_path / home
    for folder in ("captions", "image_splits"):
        shutil.copytree(annotations / "cirr" / folder, place / folder)
    (benchmark,) = load_cirr(tmp_path, "val")
    assert len(benchmark.queries) == 4181
    assert all(len(query.candidates) == 5 for query in benchmark.queries)


def test_genecis_object_galleries_are_of_15(annotations):
    for task in ("change-object", "focus-object"):
        (benchmark,) = load_genecis(annotations / "genecis", task)
        assert {len(query.candidates) for query in benchmark.queries} == {15}


@pytest.mark.parametrize(
    ("choices", "fault"),
    [
        (BenchmarkChoices(category="dress"), "--category does not apply to cirr"),
        (BenchmarkChoices(gallery_variant="val"), "--gallery-variant does not apply to cirr"),
    ],
)
def test_a_choice_that_does_not_apply_is_refused(tmp_path, choices, fault):
    with pytest.raises(InputInvalid, match=fault):
        load_benchmark("cirr", tmp_path, "val", choices)


@pytest.mark.parametrize(
    ("name", "split", "fault"),
    [
        ("cirrus", "val", "there is no benchmark 'cirrus'; choose from: cirr, fashioniq"),
        ("cirr", "dev", "cirr has no split 'dev'; choose from: val, test1, train"),
        ("genecis-change-object", "test", "has no split 'test'"),
    ],
)
def test_unknown_names_are_refused(tmp_path, name, split, fault):
    with pytest.raises(InputInvalid, match=fault):
        load_benchmark(name, tmp_path, split, BenchmarkChoices())


def test_missing_and_broken_annotations_name_the_file_and_the_item(tmp_path):
    with pytest.raises(InputInvalid, match=r"captions/cap\.rc2\.val\.json is not in .*doctor"):
        load_cirr(tmp_path, "val")
    with pytest.raises(InputInvalid, match="is not a folder"):
        load_cirr(tmp_path / "nowhere", "val")
    write_cirr(tmp_path)
    captions = tmp_path / "captions/cap.rc2.val.json"
    captions.write_text('[{"pairid": 7')
    with pytest.raises(InputInvalid, match=r"cap\.rc2\.val\.json is not JSON: .* line 1"):
        load_cirr(tmp_path, "val")
    write_json(captions, [CIRR_QUERY, {"pairid": 8}])
    with pytest.raises(InputInvalid, match="item 1 has no 'reference'"):
        load_cirr(tmp_path, "val")
    write_json(captions, [CIRR_QUERY | {"caption": 3}])
    with pytest.raises(InputInvalid, match="item 0: caption is 3, not str"):
        load_cirr(tmp_path, "val")
    write_json(captions, [CIRR_QUERY, CIRR_QUERY])
    with pytest.raises(InputInvalid, match="query '7' occurs 2 times"):
        load_cirr(tmp_path, "val")
    write_json(captions, [CIRR_QUERY | {"target_hard": "dev-z"}])
    with pytest.raises(InputInvalid, match="query 7 names 'dev-z', which is not in the gallery"):
        load_cirr(tmp_path, "val")
    write_json(captions, {"queries": []})
    with pytest.raises(InputInvalid, match="holds a JSON dict, not a list"):
        load_cirr(tmp_path, "val")
    write_json(captions, [])
    with pytest.raises(InputInvalid, match="cirr val has no queries"):
        load_cirr(tmp_path, "val")


def test_a_picture_that_does_not_decode_is_named(tmp_path):
    write_cirr(tmp_path)
    broken = tmp_path / "img_raw/dev/dev-a.png"
    broken.parent.mkdir(parents=True)
    broken.write_bytes(b"\x89PNG\r\n\x1a\n and then nothing")
    (benchmark,) = load_cirr(tmp_path, "val")
    with pytest.raises(InputInvalid, match=r"picture dev-a \(.*dev-a\.png\) cannot be read"):
        benchmark.pictures.read("dev-a")
    with pytest.raises(InputInvalid, match="picture dev-b is not there"):
        benchmark.pictures.read("dev-b")
