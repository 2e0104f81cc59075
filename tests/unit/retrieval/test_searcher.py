from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from compodiff.encoders import Encoder
from compodiff.errors import IndexMismatch, InputInvalid
from compodiff.images import loose_pictures
from compodiff.params import IndexParams
from compodiff.retrieval import INSIDE
from compodiff.retrieval.composer import ComposedQuery, Composer
from compodiff.retrieval.folder import Todo, build_folder_index
from compodiff.retrieval.index import Index
from compodiff.retrieval.searcher import Searcher

FLAT = IndexParams(flat_up_to=0, duplicate_cosine=0.9, kind="flat", lists=4, probes=2, code_bytes=4, rerank=4)


@pytest.fixture(scope="module")
def index(tmp_path_factory, encoder) -> Index:
    """Thirty pictures of noise around a few colours."""
    folder = tmp_path_factory.mktemp("album")
    generator = np.random.default_rng(0)
    for number in range(30):
        colour = generator.integers(0, 256, 3)
        pixels = np.clip(colour + generator.normal(0, 40, (24, 24, 3)), 0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{number:02}.png")
    files = loose_pictures(folder)
    build_folder_index(folder, folder / INSIDE, encoder, FLAT, Todo(files))
    return Index.load(folder / INSIDE)


def _cosines(vectors, index):
    unit = index.embeddings / np.linalg.norm(index.embeddings, axis=1, keepdims=True)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True) @ unit.T


def _with_fusion(composer, fusion, draws):
    sampling = composer.sampling.model_copy(update={"fusion": fusion, "draws": draws})
    return Composer(composer.encoder, composer.denoiser, composer.card, sampling)


@pytest.mark.parametrize("fusion", ["average", "mean_score", "max_score"])
def test_pictures_are_ranked_by_the_fused_score_of_the_draws(composer, index, fusion):
    composer = _with_fusion(composer, fusion, 3)
    query = ComposedQuery(Image.new("RGB", (24, 24), "red"), "at night", k=8)
    (draws,) = composer.compose_draws([query])
    cosines = _cosines(draws.numpy(), index)
    fused = {
        "average": _cosines(draws.numpy().mean(0, keepdims=True), index)[0],
        "mean_score": cosines.mean(0),
        "max_score": cosines.max(0),
    }[fusion]
    hits = Searcher(composer, index).search(query)
    assert [hit.picture_id for hit in hits] == [index.picture_ids[row] for row in np.argsort(-fused)[:8]]
    if fusion != "mean_score":  # whose scores are the mean cosines but for a factor of the query
        np.testing.assert_allclose([hit.score for hit in hits], np.sort(fused)[::-1][:8], atol=1e-5)


def test_a_reference_by_id_is_as_good_as_its_picture_and_not_found_itself(composer, index):
    searcher = Searcher(composer, index)
    by_id, by_picture = (
        ComposedQuery(reference, reference_mixing=1.0, k=30)
        for reference in ("07.png", searcher.pictures.read("07.png"))
    )
    found, found_by_picture = searcher.search_all([by_id, by_picture])
    assert found_by_picture[0].picture_id == "07.png"
    assert found_by_picture[0].score == pytest.approx(1, abs=1e-5)
    assert [hit.picture_id for hit in found] == [hit.picture_id for hit in found_by_picture[1:]]


def test_a_masked_reference_by_id_is_read_from_its_file(composer, index):
    searcher = Searcher(composer, index)
    mask = Image.new("L", (24, 24))
    mask.paste(255, (0, 0, 24, 12))
    by_id = ComposedQuery("07.png", "blue", mask=mask, k=29)
    by_picture = replace(by_id, reference=searcher.pictures.read("07.png"), k=30)
    found, found_by_picture = searcher.search_all([by_id, by_picture])
    assert [hit.picture_id for hit in found] == [
        hit.picture_id for hit in found_by_picture if hit.picture_id != "07.png"
    ]


def test_fewer_pictures_than_asked_for_are_all_of_them(composer, index):
    assert len(Searcher(composer, index).search(ComposedQuery("07.png", k=1000))) == 29


def test_an_index_of_another_encoder_is_refused(composer, index):
    encoder = composer.encoder
    other = Encoder(encoder.model, encoder.tokenize, replace(encoder.manifest, weights_digest="1" * 64))
    with pytest.raises(
        IndexMismatch, match=r"tiny-clip \(00000000\).*tiny-clip \(11111111\); run: compodiff index build"
    ):
        Searcher(Composer(other, composer.denoiser, composer.card, composer.sampling), index)


def test_queries_that_the_index_cannot_answer_are_refused(composer, index):
    searcher = Searcher(composer, index)
    with pytest.raises(InputInvalid, match=r"holds no picture 'away\.png'"):
        searcher.search(ComposedQuery("away.png", "at night"))
    with pytest.raises(InputInvalid, match="k is 0"):
        searcher.search(ComposedQuery("07.png", k=0))
