"""An index that is added to and removed from: only what changed is encoded, the rest stays as it was."""

import numpy as np
import pytest
from factories import change_parts, draw_patches
from worlds.album import PARAMS, add, build

from compodiff.errors import IndexMismatch, InputInvalid
from compodiff.index import INSIDE
from compodiff.index.folder import remove_from_index
from compodiff.index.index import Index


def test_adding_reads_and_encodes_only_what_is_added(album, encoder):
    build(album, encoder)
    before = Index.load(album / INSIDE)
    for number in range(8):  # what the index holds is not looked at again
        (album / ("a" if number % 2 else "b") / f"{number}.png").write_bytes(b"unreadable now")
    draw_patches(20).save(album / "new.png")
    added = add(album, encoder, album / "new.png")
    after = Index.load(album / INSIDE)
    assert (added.pictures, added.encoded) == (9, 1)
    assert after.picture_ids == [*before.picture_ids, "new.png"]
    np.testing.assert_array_equal(after.embeddings[:8], before.embeddings)
    (found,), _ = after.search(after.embeddings[8:], 1)
    assert found.tolist() == [8]


def test_a_picture_added_again_takes_its_old_place_away(album, encoder):
    build(album, encoder)
    draw_patches(30).save(album / "a" / "1.png")
    assert add(album, encoder, album / "a" / "1.png").pictures == 8
    index = Index.load(album / INSIDE)
    expected = encoder.encode_images([draw_patches(30)])[0]
    np.testing.assert_allclose(index.read_embedding("a/1.png"), expected, atol=1e-6)


def test_removing_leaves_the_rest_as_it_was(album, encoder):
    build(album, encoder)
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
    build(album, encoder)
    manifest = encoder.manifest
    encoder.manifest = change_parts(manifest, weights_digest="1" * 64)
    try:
        with pytest.raises(IndexMismatch, match="run: compodiff index build"):
            add(album, encoder, album / "a" / "1.png")
    finally:
        encoder.manifest = manifest


def test_inverted_lists_take_over_beyond_the_limit_and_are_not_learned_again(album, encoder):
    params = PARAMS.model_copy(update={"flat_up_to": 8})
    build(album, encoder, params=params)
    assert Index.load(album / INSIDE).manifest.kind == "flat"
    draw_patches(20).save(album / "20.png")
    add(album, encoder, album / "20.png", params=params)
    first = Index.load(album / INSIDE)
    assert first.manifest.kind == "ivf_sq8"
    centroids = first._nearest._index.quantizer.reconstruct_n(0, 2)
    draw_patches(21).save(album / "21.png")
    add(album, encoder, album / "21.png", params=params)
    second = Index.load(album / INSIDE)
    assert second.manifest.count == 10
    np.testing.assert_array_equal(second._nearest._index.quantizer.reconstruct_n(0, 2), centroids)
    rows, _ = second.search(np.array(second.embeddings), 1)
    assert rows[:, 0].tolist() == list(range(10))
