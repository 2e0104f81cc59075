import io
import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
from factories import change_parts, compute_cosines, draw_box_mask, draw_patches, encode_picture, make_index_params
from PIL import Image

from compodiff.encoders import Encoder
from compodiff.encoders.reranking import Reranking
from compodiff.errors import IndexMismatch, InputInvalid
from compodiff.images import list_pictures
from compodiff.index import INSIDE
from compodiff.index.folder import BuildPlan, build_folder_index
from compodiff.index.index import Index
from compodiff.index.manifest import MANIFEST
from compodiff.search.composer import Composer
from compodiff.search.progress import PhaseTimer
from compodiff.search.query import Blend, Query
from compodiff.search.searcher import Searcher

FLAT = make_index_params()


@pytest.fixture(scope="module")
def index(tmp_path_factory, encoder) -> Index:
    """Thirty pictures of noise around a few colours."""
    folder = tmp_path_factory.mktemp("album")
    generator = np.random.default_rng(0)
    for number in range(30):
        colour = generator.integers(0, 256, 3)
        pixels = np.clip(colour + generator.normal(0, 40, (24, 24, 3)), 0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{number:02}.png")
    files = list_pictures(folder).files
    build_folder_index(folder, folder / INSIDE, encoder, FLAT, BuildPlan(files))
    return Index.load(folder / INSIDE)


@pytest.fixture(scope="module")
def album_of_colours(tmp_path_factory, encoder):
    """Eight pictures of sixteen patches each, of which no two look alike."""
    folder = tmp_path_factory.mktemp("colours")
    for number in range(8):
        draw_patches(number).save(folder / f"{number}.png")
    build_folder_index(folder, folder / INSIDE, encoder, FLAT, BuildPlan(list_pictures(folder).files))
    return folder


def _with_fusion(composer, fusion, draws):
    sampling = composer.sampling.model_copy(update={"fusion": fusion, "draws": draws})
    return Composer(composer.encoder, composer.denoiser, composer.card, sampling)


@pytest.mark.parametrize("fusion", ["average", "mean_score", "max_score"])
def test_pictures_are_ranked_by_the_fused_score_of_the_draws(composer, index, fusion):
    composer = _with_fusion(composer, fusion, 3)
    query = Query(Image.new("RGB", (24, 24), "red"), "at night", k=8)
    (draws,) = composer.compose_draws([query])
    cosines = compute_cosines(draws.numpy(), index.embeddings)
    fused = {
        "average": compute_cosines(draws.numpy().mean(0, keepdims=True), index.embeddings)[0],
        "mean_score": cosines.mean(0),
        "max_score": cosines.max(0),
    }[fusion]
    hits = Searcher(composer, index).answer(query)
    assert [hit.picture_id for hit in hits] == [index.picture_ids[row] for row in np.argsort(-fused)[:8]]
    if fusion != "mean_score":  # whose scores are the mean cosines but for a factor of the query
        np.testing.assert_allclose([hit.score for hit in hits], np.sort(fused)[::-1][:8], atol=1e-5)


def test_a_reference_by_id_and_its_picture_have_the_same_answers_without_itself(composer, index):
    searcher = Searcher(composer, index)
    by_id, by_picture = (
        Query(reference, reference_mixing=1.0, k=30) for reference in ("07.png", searcher.pictures.read("07.png"))
    )
    found, found_by_picture = searcher.answer_all(
        [searcher.prepare(each) for each in (by_id, by_picture)], PhaseTimer()
    )
    assert "07.png" not in [hit.picture_id for hit in found]
    assert [hit.picture_id for hit in found] == [hit.picture_id for hit in found_by_picture]


def _answer(searcher, query):
    return searcher.answer_all([searcher.prepare(query)], PhaseTimer())[0]


def _resaved(picture):
    """The same picture otherwise: twice as large, and compressed."""
    larger = picture.resize((picture.width * 2, picture.height * 2))
    return Image.open(io.BytesIO(encode_picture(larger, "JPEG", quality=85))).convert("RGB")


@pytest.mark.parametrize("has_looks", [True, False], ids=["looks stored", "of another make"])
def test_a_copy_of_a_picture_of_the_index_is_not_its_own_answer(composer, album_of_colours, tmp_path, has_looks):
    folder = tmp_path / "index"
    shutil.copytree(album_of_colours / INSIDE, folder)
    if not has_looks:
        manifest = json.loads((folder / MANIFEST).read_text())
        del manifest["files"]["looks.npy"]
        (folder / MANIFEST).write_text(json.dumps(manifest))
        (folder / "looks.npy").unlink()
    searcher = Searcher(composer, Index.load(folder), album_of_colours)
    copy = _resaved(searcher.pictures.read("3.png"))
    mask = draw_box_mask(copy.size, (0, 0, copy.width, copy.height // 2))
    both = Blend((copy, searcher.pictures.read("5.png")), (1.0, 1.0))
    for query, own in (
        (Query(copy, k=8), {"3.png"}),
        (Query(copy, "at night", k=8), {"3.png"}),
        (Query(copy, "at night", mask=mask, k=8), {"3.png"}),
        (Query(both, "at night", k=8), {"3.png", "5.png"}),
        (Query(Image.new("RGB", (9, 9), "white"), k=8), set()),
    ):
        answer = _answer(searcher, query)
        assert set(answer.own) == own
        assert {hit.picture_id for hit in answer.hits} == set(searcher.index.picture_ids) - own
        assert answer.notes == ()


def test_a_search_that_can_find_nothing_says_why(composer, tmp_path):
    picture = Image.new("RGB", (32, 32), "green")
    for number in range(3):
        picture.resize((32 + number, 32)).save(tmp_path / f"{number}.png")
    build_folder_index(tmp_path, tmp_path / INSIDE, composer.encoder, FLAT, BuildPlan(list_pictures(tmp_path).files))
    searcher = Searcher(composer, Index.load(tmp_path / INSIDE))
    for reference in ("0.png", picture):
        answer = _answer(searcher, Query(reference))
        assert not answer.hits
        (note,) = answer.notes
        assert note.startswith("all 3 pictures of the index are the reference, look the same as it, or are excluded")
    answer = _answer(searcher, Query(None, "a", where="width > 99"))
    assert answer.notes == ("none of the 3 pictures fits the filter 'width > 99'; loosen it",)


@pytest.mark.parametrize(
    ("asked", "note"),
    [
        ({"reference": "07.png", "w_image": 1, "w_text": 1}, "no effect at w_image 1 and w_text 1; raise w_text"),
        ({"w_text": 1, "w_image": 3}, "no effect at w_text 1; raise w_text, for instance to 2"),
        ({"reference": "07.png", "mode": "image"}, "no effect in the mode image; take the mode composed"),
        ({"reference": "07.png", "w_image": 1, "w_text": 1.5}, ""),
        ({"reference": "07.png", "w_image": 1.5, "w_text": 1}, ""),
        ({"w_text": 1.5}, ""),
    ],
)
def test_a_negative_text_without_effect_is_told_and_only_that(composer, index, asked, note):
    searcher = Searcher(composer, index)
    one, other = (
        _answer(searcher, Query(**{"reference": None, "relative_caption": "blue", **asked}, negative_text=text))
        for text in ("a cat", "a lighthouse at night")
    )
    told = [each for each in one.notes if not each.startswith("nothing close")]
    assert len(told) == bool(note)
    assert note in "".join(told)
    assert np.allclose(one.embedding, other.embedding, atol=1e-6) == bool(note)


def test_a_masked_reference_by_id_is_read_from_its_file(composer, index):
    searcher = Searcher(composer, index)
    by_id = Query("07.png", "blue", mask=draw_box_mask((24, 24), (0, 0, 24, 12)), k=29)
    by_picture = replace(by_id, reference=searcher.pictures.read("07.png"), k=30)
    found, found_by_picture = searcher.answer_all(
        [searcher.prepare(each) for each in (by_id, by_picture)], PhaseTimer()
    )
    assert [hit.picture_id for hit in found] == [hit.picture_id for hit in found_by_picture]


class Backwards:
    """Likes the last picture best, and keeps what it was shown."""

    def score(self, references, text, pictures):
        self.shown = (references, text, pictures)
        return np.arange(len(pictures))


def test_a_reranker_orders_the_first_pictures_anew_and_is_timed(composer, index):
    plain, likes = Searcher(composer, index).answer(Query("07.png", "blue", k=6)), Backwards()
    searcher = Searcher(composer, index, reranking=Reranking(likes, 4))
    ids = [hit.picture_id for hit in plain]
    found = searcher.answer(Query("07.png", "blue", k=6))
    assert [hit.picture_id for hit in found] == [*reversed(ids[:4]), *ids[4:]]
    assert [hit.rank for hit in found] == [1, 2, 3, 4, 5, 6]
    assert [hit.picture_id for hit in searcher.answer(Query("07.png", "blue", k=2))] == [ids[3], ids[2]]
    (reference,), text, pictures = likes.shown
    assert (text, len(pictures)) == ("blue", 4)
    assert np.array_equal(np.asarray(reference), np.asarray(searcher.pictures.read("07.png")))
    assert "rerank" in found.seconds
    assert "rerank" not in plain.seconds
    assert searcher.imagine(searcher.prepare(Query("07.png", "blue", k=6)))[-1][0].picture_id == ids[3]
    of_embedding = searcher.answer(Query(index.read_embedding("07.png"), "blue", k=6))  # as the page asks
    assert "the reference is an embedding" in of_embedding.notes[0]
    assert [hit.rank for hit in of_embedding] == [1, 2, 3, 4, 5, 6]


def test_fewer_pictures_than_asked_for_are_all_of_them(composer, index):
    assert len(Searcher(composer, index).answer(Query("07.png", k=1000))) == 29


def test_an_index_of_another_encoder_is_refused(composer, index):
    encoder = composer.encoder
    other = Encoder(encoder.picture, encoder.texts, change_parts(encoder.manifest, weights_digest="1" * 64))
    with pytest.raises(
        IndexMismatch, match=r"compodiff-tiny \(\w{8}\).*compodiff-tiny \(11111111\); run: compodiff index build"
    ):
        Searcher(Composer(other, composer.denoiser, composer.card, composer.sampling), index)


def test_queries_that_the_index_cannot_answer_are_refused(composer, index):
    searcher = Searcher(composer, index)
    with pytest.raises(InputInvalid, match=r"holds no picture 'away\.png'"):
        searcher.answer(Query("away.png", "at night"))
    with pytest.raises(InputInvalid, match="k is 0"):
        searcher.answer(Query("07.png", k=0))
