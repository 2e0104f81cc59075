"""An index that is added to and removed from, one writer at a time, while others read it."""

import fcntl
import json
import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from compodiff.errors import IndexMismatch, InputInvalid, ResourceUnavailable
from compodiff.images import list_pictures
from compodiff.index import INSIDE, duplicates
from compodiff.index import folder as folder_module
from compodiff.index.duplicates import NEW
from compodiff.index.folder import BuildPlan, build_folder_index, compare_folder, remove_from_index
from compodiff.index.index import Index
from compodiff.index.manifest import MANIFEST
from compodiff.params import IndexParams
from compodiff.search.query import Query
from compodiff.search.searcher import Searcher

PARAMS = IndexParams(flat_up_to=1000, duplicate_cosine=0.9, kind="ivf_sq8", lists=2, probes=2, code_bytes=4, rerank=4)


def _picture(seed: int) -> Image.Image:
    """Sixteen patches of colour, so that no two look alike."""
    patches = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    return Image.fromarray(patches).resize((64, 48), Image.Resampling.BICUBIC)


@pytest.fixture
def album(tmp_path):
    for number in range(8):
        path = tmp_path / "album" / ("a" if number % 2 else "b") / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        _picture(number).save(path)
    return tmp_path / "album"


def _build(album, encoder, *, files=None, params=PARAMS, **how):
    return build_folder_index(
        album, album / INSIDE, encoder, params, BuildPlan(list_pictures(album).files if files is None else files, **how)
    )


def _add(album, encoder, *paths, **more):
    return _build(album, encoder, files=list(paths), keep=True, **more)


def test_adding_reads_and_encodes_only_what_is_added(album, encoder):
    _build(album, encoder)
    before = Index.load(album / INSIDE)
    for number in range(8):  # what the index holds is not looked at again
        (album / ("a" if number % 2 else "b") / f"{number}.png").write_bytes(b"unreadable now")
    _picture(20).save(album / "new.png")
    added = _add(album, encoder, album / "new.png")
    after = Index.load(album / INSIDE)
    assert (added.pictures, added.encoded) == (9, 1)
    assert after.picture_ids == [*before.picture_ids, "new.png"]
    np.testing.assert_array_equal(after.embeddings[:8], before.embeddings)
    (found,), _ = after.search(after.embeddings[8:], 1)
    assert found.tolist() == [8]


def test_a_picture_added_again_takes_its_old_place_away(album, encoder):
    _build(album, encoder)
    _picture(30).save(album / "a" / "1.png")
    assert _add(album, encoder, album / "a" / "1.png").pictures == 8
    index = Index.load(album / INSIDE)
    expected = encoder.encode_images([_picture(30)])[0]
    np.testing.assert_allclose(index.read_embedding("a/1.png"), expected, atol=1e-6)


def test_removing_leaves_the_rest_as_it_was(album, encoder):
    _build(album, encoder)
    before = Index.load(album / INSIDE)
    done = remove_from_index(album, album / INSIDE, PARAMS, ["a/1.png", "b/2.png"])
    after = Index.load(album / INSIDE)
    assert (done.pictures, done.removed) == (6, 2)
    assert set(before.picture_ids) - set(after.picture_ids) == {"a/1.png", "b/2.png"}
    for picture_id in after.picture_ids:
        np.testing.assert_array_equal(after.read_embedding(picture_id), before.read_embedding(picture_id))
    with pytest.raises(InputInvalid, match=r"holds no picture 'a/1.png'"):
        remove_from_index(album, album / INSIDE, PARAMS, ["a/1.png"])
    with pytest.raises(InputInvalid, match="nothing would be left"):
        remove_from_index(album, album / INSIDE, PARAMS, after.picture_ids)


def test_what_is_kept_must_be_of_the_same_encoder_(album, encoder):
    _build(album, encoder)
    manifest = encoder.manifest
    encoder.manifest = replace(manifest, weights_digest="1" * 64)
    try:
        with pytest.raises(IndexMismatch, match="run: compodiff index build"):
            _add(album, encoder, album / "a" / "1.png")
    finally:
        encoder.manifest = manifest


def test_inverted_lists_take_over_beyond_the_limit_and_are_not_learned_again(album, encoder):
    params = PARAMS.model_copy(update={"flat_up_to": 8})
    _build(album, encoder, params=params)
    assert Index.load(album / INSIDE).manifest.kind == "flat"
    _picture(20).save(album / "20.png")
    _add(album, encoder, album / "20.png", params=params)
    first = Index.load(album / INSIDE)
    assert first.manifest.kind == "ivf_sq8"
    centroids = first._nearest.quantizer.reconstruct_n(0, 2)
    _picture(21).save(album / "21.png")
    _add(album, encoder, album / "21.png", params=params)
    second = Index.load(album / INSIDE)
    assert second.manifest.count == 10
    np.testing.assert_array_equal(second._nearest.quantizer.reconstruct_n(0, 2), centroids)
    rows, _ = second.search(np.array(second.embeddings), 1)
    assert rows[:, 0].tolist() == list(range(10))


def test_the_same_picture_saved_otherwise_shares_its_place(album, encoder, composer):
    _picture(1).save(album / "copy.jpg", quality=90)
    _picture(1).resize((32, 24), Image.Resampling.BOX).save(album / "small.webp", lossless=True)
    _build(album, encoder)
    index = Index.load(album / INSIDE)
    groups = dict(zip(index.picture_ids, index.pictures["group"], strict=True))
    alike = {"a/1.png", "copy.jpg", "small.webp"}
    assert {each for each, group in groups.items() if group == groups["a/1.png"]} == alike
    assert all(group == each for each, group in groups.items() if each not in alike)

    hits = Searcher(composer, index).answer(Query(None, "a", k=20))
    assert len(hits) == 8
    (together,) = (hit for hit in hits if hit.picture_id in alike)
    assert {together.picture_id, *together.duplicates} == alike
    found = Searcher(composer, index).answer(Query("copy.jpg", "a", k=20))
    assert alike.isdisjoint(hit.picture_id for hit in found)

    remove_from_index(album, album / INSIDE, PARAMS, ["a/1.png"])
    index = Index.load(album / INSIDE)
    groups = dict(zip(index.picture_ids, index.pictures["group"], strict=True))
    assert groups["copy.jpg"] == groups["small.webp"] == "copy.jpg"
    _picture(1).save(album / "again.png")
    _add(album, encoder, album / "again.png")
    index = Index.load(album / INSIDE)
    groups = dict(zip(index.picture_ids, index.pictures["group"], strict=True))
    assert groups["again.png"] == groups["copy.jpg"] == groups["small.webp"] == "again.png"


@pytest.mark.parametrize("seed", range(4))
def test_groups_that_grew_are_those_of_an_index_made_at_once(album, encoder, seed):
    """Pictures and saved-again ones come and go; whatever was compared before, the groups are the same."""
    generator = np.random.default_rng(seed)
    _build(album, encoder)
    for _ in range(4):
        for number in generator.integers(0, 12, 3).tolist():
            size = (int(generator.integers(40, 80)), 48)
            _picture(number).resize(size).save(album / f"{number} {size[0]}.jpg", quality=90)
        gone = generator.choice(sorted(list_pictures(album).files), 2, replace=False)
        for path in gone:
            path.unlink()
        _build(album, encoder)
    grown = Index.load(album / INSIDE).pictures
    shutil.rmtree(album / INSIDE)
    _build(album, encoder)
    whole = Index.load(album / INSIDE).pictures
    pd.testing.assert_frame_equal(grown, whole)
    assert whole["group"].nunique() < len(whole)


def test_a_chain_joins_only_what_looks_like_its_first(album, encoder):
    """One is like the second, the second like the third, the first not like the third."""
    for name, grey in (("x", 100), ("y", 120), ("z", 140)):
        Image.new("RGB", (32, 32), (grey, grey, grey)).save(album / f"{name}.png")
    params = PARAMS.model_copy(update={"duplicate_cosine": -1.0})  # by their looks alone

    def groups():
        table = Index.load(album / INSIDE).pictures
        return dict(zip(table["picture_id"], table["group"], strict=True))

    _build(album, encoder, params=params)
    assert (groups()["x.png"], groups()["y.png"], groups()["z.png"]) == ("x.png", "x.png", "z.png")
    remove_from_index(album, album / INSIDE, params, ["x.png"])
    assert (groups()["y.png"], groups()["z.png"]) == ("y.png", "y.png")
    _add(album, encoder, album / "x.png", params=params)
    assert (groups()["x.png"], groups()["y.png"], groups()["z.png"]) == ("x.png", "x.png", "z.png")
    _add(album, encoder, album / "y.png", params=PARAMS)  # another cosine: all are compared again
    assert (groups()["x.png"], groups()["y.png"], groups()["z.png"]) == ("x.png", "x.png", "z.png")


def test_only_what_is_new_is_compared(album, encoder, monkeypatch):
    _build(album, encoder)
    compared = []

    def group_duplicates(embeddings, looks, known, *more):
        compared.append(int((known == NEW).sum()))
        return duplicates.group_duplicates(embeddings, looks, known, *more)

    monkeypatch.setattr(folder_module, "group_duplicates", group_duplicates)
    _picture(20).save(album / "20.png")
    _build(album, encoder)
    _picture(21).save(album / "21.png")
    _add(album, encoder, album / "21.png")
    remove_from_index(album, album / INSIDE, PARAMS, ["20.png"])
    assert compared == [1, 1, 0]


def test_metadata_of_files_captions_and_a_table_can_be_filtered_by(album, encoder, composer, tmp_path):
    (album / "a" / "1.txt").write_text("a quilt\n", encoding="utf-8")
    (album / "b" / "2.png.txt").write_bytes(b"\xff broken text")
    pd.DataFrame({"path": ["a/1.png", "b/2.png"], "stars": [5, 2]}).to_csv(tmp_path / "more.csv", index=False)
    _build(album, encoder, columns=tmp_path / "more.csv")
    searcher = Searcher(composer, Index.load(album / INSIDE))

    def found(condition):
        return {hit.picture_id for hit in searcher.answer(Query(None, "a", k=99, where=condition))}

    assert found("folder = 'a'") == {f"a/{number}.png" for number in (1, 3, 5, 7)}
    assert found("caption = 'a quilt'") == {"a/1.png"}
    assert found("stars >= 4") == {"a/1.png"}
    assert found("stars is null and folder = 'b'") == {"b/0.png", "b/4.png", "b/6.png"}
    whole = "width = 64 and height = 48 and size > 10 and modified > '2020-01-01'"
    assert found(whole) == set(searcher.index.picture_ids)
    pd.DataFrame({"file": ["20.png"], "stars": [1]}).to_parquet(tmp_path / "new.parquet")
    _picture(20).save(album / "20.png")
    _add(album, encoder, album / "20.png", columns=tmp_path / "new.parquet")
    searcher = Searcher(composer, Index.load(album / INSIDE))
    assert found("stars = 1") == {"20.png"}
    assert found("stars = 5") == {"a/1.png"}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("name,stars\na,1\n", "has none of the columns path, picture_id, file"),
        ("path,stars\na/1.png,1\na/1.png,2\n", "names a/1.png twice"),
        ("path,stars\na/1.png,1\n.\\a\\1.png,2\n", "names a/1.png twice"),
        ("path,size\na/1.png,1\n", "the column size of .* is one that the index has already"),
        ("path,Width\na/1.png,1\n", "the column Width of .* is one that the index has already"),
        ("path,GROUP\na/1.png,1\n", "the column GROUP of .* is one that the index has already"),
        ("path,Stars,stars\na/1.png,1,2\n", "the columns Stars and stars of .* are one name to a filter"),
        ("path,stars,stars\na/1.png,1,2\n", "the columns stars and stars of .* are one name to a filter"),
        ("path,\na/1.png,1\n", "column 2 of .* has no name"),
        ("path, stars\na/1.png,1\n", "the column ' stars' of .* has blanks around it"),
        ('path,"stars\n', "cannot be read as .csv"),
    ],
)
def test_a_table_that_does_not_fit_is_refused(album, encoder, tmp_path, content, message):
    (tmp_path / "more.csv").write_text(content)
    with pytest.raises(InputInvalid, match=message):
        _build(album, encoder, columns=tmp_path / "more.csv")
    assert not (album / INSIDE).exists()


def _stars(album, composer):
    table = Searcher(composer, Index.load(album / INSIDE)).index.pictures
    known = table[table["stars"].notna()] if "stars" in table else table[:0].assign(stars=0)
    return dict(zip(known["picture_id"], known["stars"], strict=True))


def test_columns_are_kept_until_others_are_given_or_they_are_dropped(album, encoder, composer, tmp_path):
    (tmp_path / "more.csv").write_text("path,stars\na/1.png,5\nb/2.png,2\nlater.png,4\n")
    assert _build(album, encoder, columns=tmp_path / "more.csv").unmet == (
        "1 of 3 rows of your table name no picture, for instance later.png"
    )
    assert _build(album, encoder).unmet is None
    assert _stars(album, composer) == {"a/1.png": 5, "b/2.png": 2}
    _picture(20).save(album / "later.png")
    _add(album, encoder, album / "later.png")
    assert _stars(album, composer) == {"a/1.png": 5, "b/2.png": 2, "later.png": 4}
    remove_from_index(album, album / INSIDE, PARAMS, ["a/1.png"])
    _build(album, encoder, checksum=True)
    assert _stars(album, composer) == {"a/1.png": 5, "b/2.png": 2, "later.png": 4}
    (tmp_path / "new.csv").write_text("file,stars\nb/2.png,1\n")
    _add(album, encoder, columns=tmp_path / "new.csv")
    assert _stars(album, composer) == {"a/1.png": 5, "b/2.png": 1, "later.png": 4}
    _build(album, encoder, columns=tmp_path / "new.csv")
    assert _stars(album, composer) == {"b/2.png": 1}
    _build(album, encoder, no_columns=True)
    assert "stars" not in Index.load(album / INSIDE).pictures


def test_columns_of_an_index_of_an_earlier_make_are_kept(album, encoder, composer, tmp_path):
    (tmp_path / "more.csv").write_text("path,stars\na/1.png,5\n")
    _build(album, encoder, columns=tmp_path / "more.csv")
    (album / INSIDE / "columns.parquet").unlink()
    manifest = json.loads((album / INSIDE / MANIFEST).read_text())
    del manifest["files"]["columns.parquet"]
    (album / INSIDE / MANIFEST).write_text(json.dumps(manifest))
    _build(album, encoder)
    assert _stars(album, composer) == {"a/1.png": 5}


def test_paths_of_another_system_and_names_that_look_like_numbers_are_met(album, encoder, composer, tmp_path):
    _picture(20).save(album / "007", "PNG")
    table = "\ufeffPath,stars\n.\\a\\1.png,5\n./b/2.png,2\n007,3\n"
    (tmp_path / "more.csv").write_text(table, encoding="utf-8")
    files = [*list_pictures(album).files, album / "007"]
    assert _build(album, encoder, columns=tmp_path / "more.csv", files=files).unmet is None
    assert _stars(album, composer) == {"a/1.png": 5, "b/2.png": 2, "007": 3}


def test_an_index_of_another_folder_is_refused_by_everything_that_reads_or_writes_it(album, encoder, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(album, other)
    out = tmp_path / "index"
    build_folder_index(album, out, encoder, PARAMS, BuildPlan(list_pictures(album).files))
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    for what in (
        lambda: build_folder_index(other, out, encoder, PARAMS, BuildPlan(list_pictures(other).files)),
        lambda: build_folder_index(other, out, encoder, PARAMS, BuildPlan([other / "a" / "1.png"], keep=True)),
        lambda: remove_from_index(other, out, PARAMS, ["a/1.png"]),
        lambda: compare_folder(out, other),
    ):
        with pytest.raises(InputInvalid, match=rf"the index {out} is of the folder {album}, not of {other}; name"):
            what()
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before


def test_a_folder_that_was_moved_with_its_index_goes_on(album, encoder):
    _build(album, encoder)
    moved = album.rename(album.with_name("moved"))
    assert _build(moved, encoder).encoded == 0
    remove_from_index(moved, moved / INSIDE, PARAMS, ["a/1.png"])
    assert compare_folder(moved / INSIDE, moved).added == ["a/1.png"]


def test_a_second_writer_is_refused_while_the_first_is_at_work(album, encoder):
    _build(album, encoder)
    descriptor = os.open(album, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    try:
        for write in (
            lambda: _build(album, encoder),
            lambda: remove_from_index(album, album / INSIDE, PARAMS, ["a/1.png"]),
        ):
            with pytest.raises(ResourceUnavailable, match="another compodiff index is writing"):
                write()
        assert Index.load(album / INSIDE).manifest.count == 8
    finally:
        os.close(descriptor)
    assert _build(album, encoder).pictures == 8


def test_readers_see_a_whole_index_while_it_is_replaced(album, encoder, tmp_path):
    """Two indexes of different sizes take turns; whatever is opened is one of them, never a mixture."""
    _build(album, encoder)
    _picture(20).save(album / "20.png")

    def opened(_):
        index = Index.load(album / INSIDE)
        assert len(index.pictures) == len(index.embeddings) == index.manifest.count == index._nearest.ntotal
        return index.manifest.count

    with ThreadPoolExecutor(3) as pool:
        counts = pool.map(opened, range(300))
        for _ in range(6):
            _add(album, encoder, album / "20.png")
            remove_from_index(album, album / INSIDE, PARAMS, ["20.png"])
        assert set(counts) <= {8, 9}


def test_an_index_between_two_renames_is_waited_for(album, encoder):
    _build(album, encoder)
    index, retired = album / INSIDE, album / f".{INSIDE}.{os.getpid()}.compodiff-retired"
    index.rename(retired)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(Index.load, index)
        assert not waiting.done()
        shutil.copytree(retired, index)
        assert waiting.result(5).manifest.count == 8
    shutil.rmtree(index)
    shutil.rmtree(retired)
    with pytest.raises(InputInvalid, match="there is no index"):
        Index.load(index)
