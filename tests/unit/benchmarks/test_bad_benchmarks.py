"""What is wrong with people's copies of a benchmark is named, or counted where asked, by every loader alike."""

import json
import re
from pathlib import Path

import pandas as pd
import pytest
from factories import encode_picture, write_tar
from worlds.field import FIELDS, OTHERS, PAIRS, Field, pairs
from worlds.field_2026 import FIELDS_2026, write_lines

from compodiff.benchmarks.datasets.doctor import examine
from compodiff.benchmarks.datasets.embedding import find_present
from compodiff.benchmarks.datasets.loading import BenchmarkChoices, load_benchmark
from compodiff.errors import InputInvalid
from compodiff.storage.atomic import write_json


def write_triplets(root: Path) -> list[str]:
    names = [f"n{number:02d}" for number in range(2 * PAIRS + OTHERS)]
    asked = ({"reference": a, "relative_caption": "the same again", "target": b} for a, b in pairs(names))
    write_lines(root / "queries.jsonl", asked)
    return names


KEPT = ("official, img_raw", "official, listed", "not listed", "official, images", "val2017", "VG_100K")
ALL = [
    *(field for field in FIELDS if field.layout in KEPT),
    *FIELDS_2026,
    Field("triplets", "loose", write_triplets, lambda name: f"gallery/{name}.png"),
]
every = pytest.mark.parametrize("field", ALL, ids=str)


def load(field, root, template=None):
    return load_benchmark(field.name, root, None, BenchmarkChoices(template=template))


def list_annotations(root):
    return [path for path in root.rglob("*") if path.suffix in (".json", ".jsonl", ".csv", ".txt")]


@every
def test_a_byte_order_mark_changes_nothing(field, tmp_path):
    field.make(tmp_path)
    plain = [part.queries for part in load(field, tmp_path)]
    for path in list_annotations(tmp_path):
        path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert [part.queries for part in load(field, tmp_path)] == plain


@every
def test_characters_that_python_takes_for_line_ends_stay_in_a_text(field, tmp_path):
    field.make(tmp_path)
    odd = "one\u2028two\u2029three\u0085four\x1dfive"
    texts = "the same again|is the same again|is the same|at [0-9] o'clock|noise"
    for path in list_annotations(tmp_path):
        content = path.read_text(encoding="utf-8")
        said = odd.replace("\x1d", "\\u001d") if path.suffix != ".csv" else odd
        if field.name != "circo" or "shared_concept" in content:
            said_of = re.sub(f'({texts})(?=[",])', lambda found: said, content)  # noqa: B023
            path.write_text(said_of, encoding="utf-8", newline="")
    for table in tmp_path.rglob("*.parquet"):
        pd.read_parquet(table).assign(instruction=odd).to_parquet(table)
    captions = {query.relative_caption for part in load(field, tmp_path) for query in part.queries}
    assert all(odd in caption for caption in captions)


@every
def test_half_of_the_pictures_missing_is_said_or_counted(field, tmp_path):
    names = field.make(tmp_path)
    away = names[2::4] + names[3::4]  # one query of each category, and half of the others
    for name in away:
        (tmp_path / field.picture(name)).unlink()
    if field.layout in ("loose", "not listed"):  # what is in the folder is the gallery
        away = [name for name in away if name in names[: 2 * PAIRS]]
    parts = load(field, tmp_path)
    with pytest.raises(
        InputInvalid, match=rf"{len(away)} of \d+ pictures of {field.name} are missing \(.* \.\.\.\); get"
    ):
        find_present(parts, skip_missing=False)
    there = find_present(parts, skip_missing=True)
    assert len(there.missing) == len(away)
    assert there.left_out == len(names) // (2 * PAIRS + OTHERS)
    told = [finding.what for finding in examine(field.name, tmp_path) if not finding.is_good]
    assert any("missing" in what for what in told)


@every
def test_empty_pictures_pages_and_a_macs_files_are_told_apart(field, tmp_path):
    names = field.make(tmp_path)
    for name in names:
        path = tmp_path / field.picture(name)
        path.with_name(f"._{path.name}").write_bytes(b"\x00\x05\x16\x07 a Mac's own")
    (tmp_path / field.picture(names[-1])).write_bytes(b"")
    (tmp_path / field.picture(names[-2])).write_text("<!DOCTYPE html><title>404</title>")
    there = find_present(load(field, tmp_path), skip_missing=True)
    assert len(there.missing) == 2
    assert len(there.pictures) == len(names) - 2
    told = " ".join(finding.what for finding in examine(field.name, tmp_path))
    assert "pictures broken: empty, cut short or no pictures (" in told


@every
@pytest.mark.parametrize("template", ["{}", "{relative_caption", "{shared_concept}", "no field"])
def test_a_template_that_cannot_be_filled_is_one_line(field, template, tmp_path):
    field.write(tmp_path)
    fault = "--template does not apply" if field.name == "fashioniq" else "the template .*; its fields are"
    if field.name == "circo" and template == "{shared_concept}":
        assert load(field, tmp_path, template)[0].queries[0].texts == ("noise",)
        return
    with pytest.raises(InputInvalid, match=fault) as caught:
        load(field, tmp_path, template)
    assert "\n" not in str(caught.value)


def of(name):
    return next(field for field in ALL if field.name == name)


def repeat_first(path, where=None):
    content = json.loads(path.read_text())
    items = content if where is None else content[where]
    items.append(items[0])
    write_json(path, content)


@pytest.mark.parametrize(
    ("name", "damage", "fault"),
    [
        ("cirr", lambda root: repeat_first(root / "captions/cap.rc2.val.json"), "query '0' occurs 2 times"),
        ("circo", lambda root: repeat_first(root / "annotations/val.json"), "query '0' occurs 2 times"),
        (
            "circo",
            lambda root: repeat_first(root / "COCO2017_unlabeled/annotations/image_info_unlabeled2017.json", "images"),
            "gallery picture '11' occurs 2 times",
        ),
        (
            "fashioniq",
            lambda root: repeat_first(root / "image_splits/split.dress.val.json"),
            "gallery picture 'dress0' occurs 2 times",
        ),
    ],
)
def test_an_id_that_stands_twice_is_named(name, damage, fault, tmp_path):
    of(name).write(tmp_path)
    damage(tmp_path)
    with pytest.raises(InputInvalid, match=fault):
        load(of(name), tmp_path)


def test_a_picture_that_cirrs_list_has_twice_is_named(tmp_path):
    of("cirr").write(tmp_path)
    listed = tmp_path / "image_splits/split.rc2.val.json"
    listed.write_text(listed.read_text().replace("{", '{"dev-0-0-img0": "./dev/other.png",', 1))
    with pytest.raises(InputInvalid, match=r"split\.rc2\.val\.json: the key 'dev-0-0-img0' occurs 2 times"):
        load(of("cirr"), tmp_path)


def test_tars_are_read_without_a_macs_files_and_no_name_twice(tmp_path):
    write_lines(tmp_path / "queries.jsonl", [{"reference": "a", "relative_caption": "x", "target": "b"}])
    picture = encode_picture("red")
    write_tar(tmp_path / "gallery/t.tar", {"./a.png": picture, "./._a.png": b"a Mac's", "b.png": picture})
    write_tar(tmp_path / "gallery/._t.tar", {"c.png": picture}).write_bytes(b"a Mac's own")
    (benchmark,) = load(of("triplets"), tmp_path)
    assert benchmark.gallery == ("a", "b")
    write_tar(tmp_path / "gallery/t.tar", {"a.png": picture, "b.png": picture, "./a.png": picture})
    with pytest.raises(InputInvalid, match="two pictures named 'a'"):
        load(of("triplets"), tmp_path)
