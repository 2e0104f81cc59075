"""Fitting what edits do to embeddings, on embeddings of which the edit is known."""

import torch

from compodiff.encoder_training.edit_maps import EditExamples, choose_wordings, fit_edit_maps
from compodiff.encoders.edit_maps import OTHER
from compodiff.params import EditedPictures, EditMapsParams

DIM, PICTURES = 12, 80
NONE = EditedPictures(objects=0, scenes=0, collages=0)


def fit(rank: int, change: torch.Tensor, shift: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Fit one edit that changes x by x @ change + shift; return what it does to new pictures, and what it should."""
    generator = torch.Generator().manual_seed(3)
    before, new = torch.randn(PICTURES, DIM, generator=generator) + 2, torch.randn(5, DIM, generator=generator)
    edit = EditExamples(before, before + before @ change + shift, ["mirrored"])
    params = EditMapsParams(seed=1, pictures=NONE, ridge=1e-4, rank=rank, least_cosine=0.5)
    maps = fit_edit_maps([edit], {"mirrored": (0, False)}, torch.eye(1, DIM), params)
    found = maps.find(new, torch.eye(1, DIM).expand(5, DIM), torch.ones(5, dtype=torch.bool))
    assert found is not None
    return found.change, new @ change + shift


def test_a_linear_edit_of_pictures_is_found_for_others() -> None:
    change = torch.randn(DIM, DIM, generator=torch.Generator().manual_seed(4)) / 3
    torch.testing.assert_close(*fit(DIM, change, torch.arange(DIM) / 4), atol=2e-2, rtol=1e-2)


def test_a_change_of_few_dimensions_needs_no_more_rank() -> None:
    change = torch.zeros(DIM, DIM)
    change[:, :2] = 0.5
    torch.testing.assert_close(*fit(2, change, torch.zeros(DIM)), atol=2e-2, rtol=1e-2)


def test_a_map_has_its_rank_where_there_are_fewer_pictures() -> None:
    change = torch.eye(DIM)
    made, _ = fit(PICTURES + 1, change, torch.zeros(DIM))
    assert torch.isfinite(made).all()


def test_wordings_of_several_edits_ask_for_none_and_those_of_others_are_shared() -> None:
    pictures = torch.zeros(1, DIM)
    edits = [
        EditExamples(pictures, pictures, ["in red", "tinted red"]),
        EditExamples(pictures, pictures, ["not red", "in its natural colours"]),
        EditExamples(pictures, pictures, ["not blue", "in its natural colours"]),
    ]
    assert choose_wordings(edits, ["in red", "with dark skin"]) == {
        "in red": (0, True),
        "tinted red": (0, False),
        "not red": (1, False),
        "in its natural colours": (OTHER, False),
        "not blue": (2, False),
        "with dark skin": (OTHER, False),
    }
