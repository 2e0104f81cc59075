import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from compodiff.pairs.similarity import (
    EmbeddedPairs,
    compare_directions,
    compare_images,
    compare_with_caption,
    compare_with_keyword,
    judge,
    score,
)
from compodiff.params import SimilarityFloors

ALL_LET_THROUGH = dict.fromkeys(SimilarityFloors.model_fields, -1.0)


def vectors(*rows):
    return np.array(rows, dtype=np.float32)


def drawn(seed, count=5, batch=7, width=16):
    generator = np.random.default_rng(seed)
    return [generator.normal(size=(batch, width)).astype(np.float32) for _ in range(count)]


@given(st.integers(0, 2**32 - 1))
def test_scores_are_the_cosines_that_torch_computes(seed):
    reference, target, reference_caption, target_caption, keyword = drawn(seed)
    scores = score(EmbeddedPairs(reference, target, reference_caption, target_caption, keyword))

    def cosine(a, b):
        return torch.nn.functional.cosine_similarity(torch.from_numpy(a), torch.from_numpy(b)).numpy()

    expected = {
        "image_image": cosine(reference, target),
        "image_caption_reference": cosine(reference, reference_caption),
        "image_caption_target": cosine(target, target_caption),
        "directional": cosine(target - reference, target_caption - reference_caption),
        "keyword_image": cosine(keyword, target),
    }
    assert list(scores) == list(expected) == list(SimilarityFloors.model_fields)
    for name, values in expected.items():
        assert scores[name].dtype == np.float32
        np.testing.assert_allclose(scores[name], values, atol=6e-5)  # half of the last decimal that is kept


@pytest.mark.parametrize("similarity", [compare_images, compare_with_caption, compare_with_keyword])
def test_a_similarity_is_one_for_parallel_and_zero_for_orthogonal_or_empty(similarity):
    a = vectors([1, 0], [1, 0], [1, 0], [0, 0])
    b = vectors([5, 0], [-2, 0], [0, 3], [1, 0])
    np.testing.assert_allclose(similarity(a, b), [1, -1, 0, 0])


def test_a_change_the_way_of_the_caption_is_one_and_no_change_is_zero():
    reference, reference_caption = vectors([1, 1], [1, 1], [1, 1]), vectors([0, 2], [0, 2], [0, 2])
    target, target_caption = vectors([3, 1], [0, 1], [1, 1]), vectors([1, 2], [1, 2], [1, 2])
    np.testing.assert_allclose(compare_directions(reference, target, reference_caption, target_caption), [1, -1, 0])


def test_a_floor_lets_through_what_reaches_it():
    floors = SimilarityFloors.model_validate(ALL_LET_THROUGH | {"image_image": 0.7, "directional": 0.2})
    # Cosines of (1, 0) with (0.7, y): at the floor, above, below.
    target = vectors([0.7, (1 - 0.49) ** 0.5], [1, 0], [0.6999, (1 - 0.6999**2) ** 0.5])
    reference = vectors([1, 0], [1, 0], [1, 0])
    scores = score(EmbeddedPairs(reference, target, reference, target, target))
    assert scores["image_image"].tolist() == [np.float32(0.7), 1, np.float32(0.6999)]
    assert judge(scores, floors).tolist() == ["", "directional", "image_image"]
    assert judge(scores, None).tolist() == ["", "", ""]


def test_all_failed_filters_are_named_and_a_score_that_is_missing_fails_none():
    floors = SimilarityFloors.model_validate(ALL_LET_THROUGH | {"image_image": 0.9, "keyword_image": 0.9})
    reference, target, *texts = drawn(1)
    scores = score(EmbeddedPairs(reference, target, *texts))
    scores[["image_image", "keyword_image"]] = np.float32(1)
    scores.loc[2, ["image_image", "keyword_image"]] = np.float32(0.5)
    scores.loc[3, ["image_image", "keyword_image"]] = np.nan
    assert judge(scores, floors).tolist() == ["", "", "image_image,keyword_image", "", "", "", ""]
