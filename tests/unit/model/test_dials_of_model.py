"""Where a model's dials are read: beside its folder, or in the card of a release that had them there."""

from pathlib import Path

import pytest
from factories import make_denoiser_config, make_sampling_params

from compodiff.errors import InputInvalid
from compodiff.model.checkpoint import ModelCard
from compodiff.model.dials import FILE, read_dials
from compodiff.model.sampling.process import Process
from compodiff.stages.set_dials import set_dials

OLD, NEW = make_sampling_params(w_text=2.0), make_sampling_params(w_text=7.0)


def card(**trained_with: object) -> ModelCard:
    return ModelCard(make_denoiser_config(), Process("diffusion", 1000), None, trained_with)


def test_the_file_beside_the_model_goes_before_its_card(tmp_path: Path) -> None:
    model, of_old_release = tmp_path / "composed", card(sampling=OLD.model_dump())
    assert read_dials(model, card()) is None
    assert read_dials(model, of_old_release) == OLD
    set_dials(sampling=NEW, dials=tmp_path / FILE)
    assert read_dials(model, of_old_release) == read_dials(model, card()) == NEW


@pytest.mark.parametrize("content", ["{", '{"w_text": 2.0}', '{"w_text": "much"}', "[]", "null"])
def test_a_damaged_file_is_bad_input(tmp_path: Path, content: str) -> None:
    (tmp_path / FILE).write_text(content)
    with pytest.raises(InputInvalid, match=FILE):
        read_dials(tmp_path / "composed", card())
    with pytest.raises(InputInvalid, match=r"the card of .*composed has no dials \(.*; run: dvc repro set_dials"):
        read_dials(tmp_path / "elsewhere" / "composed", card(sampling={"w_text": 2.0}))
