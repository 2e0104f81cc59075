"""Which edit a text asks for, and the file that an encoder's folder keeps of edits."""

import json
from pathlib import Path

import pytest
import torch
from worlds.edits import DARKER, MIRROR, encoder_with_edits, make_edit_maps

from compodiff.encoders import load_encoder, read_edit_maps, save_encoder
from compodiff.encoders.edit_maps import FILE, OTHER
from compodiff.errors import EncoderMismatch

__all__ = ["encoder_with_edits"]

DIM = 4
WORDINGS = torch.eye(3, DIM)  # of mirror, of darker, of something else


def ask(texts: list[list[float]]) -> list[int]:
    return make_edit_maps(WORDINGS, DIM).recognise(torch.tensor(texts))[0].tolist()


def test_a_text_asks_for_the_edit_of_the_nearest_wording_whatever_its_length() -> None:
    assert ask([[9, 0, 0, 0], [0.1, 0.5, 0, 0], [0, 0, 1, 0]]) == [MIRROR, DARKER, OTHER]


def test_a_text_that_is_near_to_no_wording_asks_for_none() -> None:
    assert ask([[0.6, 0, 0, 0.8], [0.9, 0, 0, 0.4]]) == [OTHER, MIRROR]  # least cosine 0.7


def test_what_a_query_may_not_ask_for_is_not_found() -> None:
    maps, references = make_edit_maps(WORDINGS, DIM), torch.arange(8.0).view(2, DIM)
    texts = torch.eye(2, DIM)
    found = maps.find(references, texts, torch.tensor([False, True]))
    assert found is not None
    assert found.asked.tolist() == [False, True]
    torch.testing.assert_close(found.change, torch.stack([torch.zeros(DIM), -references[1] / 2]))
    assert maps.find(references, texts, torch.zeros(2, dtype=torch.bool)) is None


def test_only_a_wording_of_an_edit_can_be_shared() -> None:
    maps = make_edit_maps(WORDINGS, DIM, shared=[False, True, True])
    assert maps.recognise(torch.eye(3, DIM))[1].tolist() == [False, True, False]


@pytest.fixture
def folder(tmp_path: Path, encoder_with_edits) -> Path:
    save_encoder(encoder_with_edits, tmp_path / "encoder")
    return tmp_path / "encoder"


def test_an_encoder_keeps_its_maps_and_is_the_same_encoder(folder: Path, encoder_with_edits) -> None:
    loaded = load_encoder(folder)
    assert loaded.manifest == encoder_with_edits.manifest
    for name in ("down", "wordings", "edits", "shared", "least"):
        assert torch.equal(getattr(loaded.edits, name), getattr(encoder_with_edits.edits, name))


def test_an_encoder_of_before_has_none(folder: Path) -> None:
    content = json.loads((folder / "manifest.json").read_text())
    del content["record"]["edits"]
    (folder / "manifest.json").write_text(json.dumps(content))
    (folder / FILE).unlink()
    assert read_edit_maps(folder) is None
    assert load_encoder(folder).edits is None


@pytest.mark.parametrize("damage", [Path.unlink, lambda path: path.write_bytes(path.read_bytes()[:-1])])
def test_maps_that_are_not_the_encoders_are_refused(folder: Path, damage) -> None:
    damage(folder / FILE)
    with pytest.raises(EncoderMismatch, match="train_encoder"):
        read_edit_maps(folder)
