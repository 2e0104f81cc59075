import json
import os

import pytest
from factories import encode_picture, write_tar

from compodiff.benchmarks.datasets.doctor import examine
from compodiff.benchmarks.datasets.embedding import find_present
from compodiff.benchmarks.datasets.own import load_triplets
from compodiff.errors import InputInvalid


def write(folder, *lines, name="queries.jsonl"):
    folder.mkdir(exist_ok=True)
    (folder / name).write_text("".join(f"{line if isinstance(line, str) else json.dumps(line)}\n" for line in lines))


@pytest.fixture
def folder(tmp_path):
    """Pictures of every kind: loose, in a sub-folder, in a tar."""
    gallery = tmp_path / "own" / "gallery"
    (gallery / "cats").mkdir(parents=True)
    (gallery / "a.png").write_bytes(encode_picture("red"))
    (gallery / "cats" / "v1.2.jpg").write_bytes(encode_picture("lime"))
    write_tar(gallery / "more.tar", {"c.png": encode_picture("blue"), "d.png": encode_picture("white")})
    return tmp_path / "own"


def test_loose_pictures_and_tars_are_one_gallery(folder):
    write(folder, {"reference": "a", "relative_caption": "green", "target": "cats/v1.2"})
    (benchmark,) = load_triplets(folder, "test")
    assert benchmark.gallery == ("a", "c", "cats/v1.2", "d")
    colours = [benchmark.pictures.read(name).convert("RGB").getpixel((0, 0)) for name in benchmark.gallery]
    assert colours == [(255, 0, 0), (0, 0, 255), (0, 255, 0), (255, 255, 255)]
    assert benchmark.protocol.excludes_reference


def test_pictures_that_are_none_are_counted_as_broken_and_left_out(folder):
    write(folder, *({"reference": "a", "relative_caption": "x", "target": each} for each in ("c", "html")))
    (folder / "gallery" / "empty.jpg").touch()
    (folder / "gallery" / "html.jpg").write_text("<!DOCTYPE html><p>gone")
    (folder / "gallery" / "half.png").write_bytes(encode_picture("red")[:40])
    (folder / "gallery" / "._a.png").write_bytes(b"a Mac's own")
    os.mkfifo(folder / "gallery" / "pipe.tar")
    os.mkfifo(folder / "gallery" / "pipe.png")
    findings = list(examine("triplets", folder))
    assert [finding.is_good for finding in findings] == [True, False]
    assert "3 of 7 pictures broken: empty, cut short or no pictures (empty, half, html ...)" in findings[1].what
    there = find_present(load_triplets(folder, "test"), skip_missing=True)
    assert sorted(there.pictures) == ["a", "c", "cats/v1.2", "d"]
    assert sorted(there.missing) == ["empty", "half", "html"]


def test_ids_may_bear_their_suffix_and_the_split_its_own_file(folder):
    full = {
        "reference": "a.png",
        "relative_caption": "cold",
        "targets": ["c.png", "d", "c"],
        "group": "colour",
        "concept": "square",
        "negative": "warm",
        "mask": "a.mask.png",
    }
    write(folder, {"reference": "a", "relative_caption": "x", "target": "c"})
    write(folder, full, "", name="queries.test.jsonl")
    (benchmark,) = load_triplets(folder, "test")
    (query,) = benchmark.queries
    assert (query.reference, query.targets, query.groups) == ("a", ("c", "d"), ("colour",))
    assert (query.concept, query.negative, query.mask) == ("square", "warm", "a.mask.png")
    (other,) = load_triplets(folder, "validation")
    assert other.queries[0].relative_caption == "x"


def test_without_pictures_the_embeddings_name_the_gallery(tmp_path):
    write(tmp_path / "own", {"reference": "a", "relative_caption": "x", "target": "c"})
    (benchmark,) = load_triplets(tmp_path / "own", "test")
    assert benchmark.gallery is None


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ('{"reference": "a"', "line 2 is not JSON"),
        ("[1]", "line 2 is not an object"),
        ({"relative_caption": "x", "target": "c"}, "line 2 has no 'reference'"),
        ({"reference": "a", "relative_caption": "x"}, "line 2 has no 'target'"),
        ({"reference": "a", "relative_caption": "x", "targets": []}, "line 2: targets is empty"),
        ({"reference": "a", "relative_caption": "x", "targets": ["c", 4]}, "not a list of strings"),
        ({"reference": "a", "relative_caption": "x", "target": "c", "targets": ["d"]}, "both target and targets"),
        ({"reference": "a", "relative_caption": "x", "target": "a.png"}, "'a' is both reference and target"),
    ],
)
def test_a_broken_line_is_named(folder, line, fault):
    write(folder, {"reference": "a", "relative_caption": "x", "target": "c"}, line)
    with pytest.raises(InputInvalid, match=fault):
        load_triplets(folder, "test")


def test_folders_that_cannot_be_a_benchmark(folder, tmp_path):
    with pytest.raises(InputInvalid, match=r"queries\.jsonl is not in"):
        load_triplets(folder, "test")
    write(folder, {"reference": "a", "relative_caption": "x", "target": "c"})
    (folder / "gallery" / "c.jpg").write_bytes(encode_picture("red"))
    with pytest.raises(InputInvalid, match="two pictures named 'c'"):
        load_triplets(folder, "test")
    (tmp_path / "empty" / "gallery").mkdir(parents=True)
    write(tmp_path / "empty", {"reference": "a", "relative_caption": "x", "target": "c"})
    with pytest.raises(InputInvalid, match="holds no picture"):
        load_triplets(tmp_path / "empty", "test")


def test_a_truncated_tar_is_refused(folder):
    write(folder, {"reference": "a", "relative_caption": "x", "target": "c"})
    tar = folder / "gallery" / "more.tar"
    tar.write_bytes(tar.read_bytes()[:700])
    with pytest.raises(InputInvalid, match=r"more\.tar is not a readable tar"):
        load_triplets(folder, "test")
