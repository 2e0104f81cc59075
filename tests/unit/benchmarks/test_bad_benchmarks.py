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
    pictures = [tmp_path / field.picture(name) for name in names]
    for path in (*pictures, *list_annotations(tmp_path), *tmp_path.rglob("*.parquet")):
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


# Queries of FashionIQ, GeneCIS and triplets have no ids; a judgement of M-BEIR may be repeated; trails are not read.
WITHOUT_IDS = re.compile(r"cap\..*\.val\.json|(change|focus)_.*\.json|queries\.jsonl|.*_qrels\.txt|.*\.trace\.jsonl")


def repeat_first(path):
    """Let the first item, or key, of a file stand there twice."""
    if path.suffix == ".parquet":
        table = pd.read_parquet(path)
        return pd.concat([table, table[:1]]).to_parquet(path)
    text = path.read_text(encoding="utf-8")
    if path.suffix != ".json":
        return path.write_text(text + text.partition("\n")[0] + "\n")
    content = json.loads(text)
    if isinstance(content, dict) and "images" not in content:  # CIRR's pictures by their names
        (name, *_) = content
        return path.write_text(text.replace("{", f'{{"{name}": "./elsewhere.png",', 1))
    items = content if isinstance(content, list) else content["images"]
    return write_json(path, [*content, items[0]] if items is content else {"images": [*items, items[0]]})


@every
def test_an_id_that_stands_twice_is_named(field, tmp_path):
    field.make(tmp_path)
    load(field, tmp_path)
    fault = r"'[^']+' occurs 2 times|row \d+ says what row \d+ says|two pictures named '[^']+'"
    for path in [*list_annotations(tmp_path), *tmp_path.rglob("*.parquet")]:
        if field.name != "cirr" and WITHOUT_IDS.fullmatch(path.name):
            continue
        whole = path.read_bytes()
        repeat_first(path)
        with pytest.raises(InputInvalid, match=fault):
            load(field, tmp_path)
        path.write_bytes(whole)
    if field.name == "triplets":
        (tmp_path / "gallery/n00.jpg").write_bytes((tmp_path / "gallery/n00.png").read_bytes())
        with pytest.raises(InputInvalid, match=fault):
            load(field, tmp_path)


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
