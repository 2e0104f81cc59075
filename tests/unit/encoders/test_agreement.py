"""Half the precision is taken where it agrees with float32, and only there."""

from pathlib import Path

import pytest
import torch
from worlds.tiny_models import save_clip, save_t5

from compodiff.encoders import Encoder, EncoderManifest, assemble_encoder, load_encoder, require_same, save_encoder
from compodiff.encoders.agreement import choose_dtype, measure_agreement
from compodiff.params import PartParams


def make_clip_and_t5(folder: Path) -> Encoder:
    save_clip(folder / "clip")
    save_t5(folder / "t5")
    clip, t5 = (PartParams(name=str(folder / name)) for name in ("clip", "t5"))
    return assemble_encoder(clip, [clip, t5])


def test_agreement_is_measured_and_weights_stay_as_they_were(tmp_path: Path) -> None:
    encoder = make_clip_and_t5(tmp_path)
    before = [each.clone() for each in encoder.picture.module.parameters()]
    found = measure_agreement(encoder)
    assert found["device"] == "cpu"
    for precision, least in (("bfloat16", 0.99), ("float16", 0.999)):
        assert set(found[precision]) == {"pictures", "texts", "tokens 1", "tokens 2"}
        assert all(least < cosine <= 1 for cosine in found[precision].values())
    assert found["bfloat16"]["pictures"] < 1  # rounded to six digits, it is not the same
    assert all(torch.equal(*pair) for pair in zip(before, encoder.picture.module.parameters(), strict=True))


def test_what_overflows_does_not_agree(tmp_path: Path) -> None:
    encoder = make_clip_and_t5(tmp_path)
    for name, parameter in encoder.texts[1].module.named_parameters():
        if "wo" in name or "wi" in name:
            parameter.mul_(300)  # as in T5-XL, whose states leave float16's range
    found = measure_agreement(encoder)
    assert found["float16"]["tokens 2"] < 0.5
    assert found["float16"]["pictures"] > 0.999
    assert found["bfloat16"]["tokens 2"] > 0.9


@pytest.mark.parametrize(
    ("asked", "bfloat16", "float16", "expected"),
    [
        ("auto", 0.9995, 0.9999, torch.float16),
        ("auto", 0.9995, 0.0, torch.bfloat16),
        ("auto", 0.99, 0.0, torch.float32),
        ("float32", 1.0, 1.0, torch.float32),
        ("bfloat16", 0.5, 1.0, torch.bfloat16),
    ],
)
def test_the_precision_that_agrees_best_is_chosen(
    asked: str, bfloat16: float, float16: float, expected: torch.dtype
) -> None:
    measured = {"device": "any", "bfloat16": {"pictures": 1.0, "tokens 1": bfloat16}, "float16": {"pictures": float16}}
    assert choose_dtype(asked, measured) == expected


def test_it_is_recorded_and_changes_no_identity(tmp_path: Path) -> None:
    encoder = make_clip_and_t5(tmp_path)
    plain = encoder.manifest
    save_encoder(encoder.record_agreement("auto"), tmp_path / "encoder")
    loaded = load_encoder(tmp_path / "encoder")
    assert loaded.manifest.record["precision"] == "auto"
    assert loaded.manifest.record["agreement"]["bfloat16"]["pictures"] > 0.99
    require_same(loaded.manifest, plain, "the test")
    assert EncoderManifest.from_json(loaded.manifest.to_json()).identify() == plain.identify()


def test_an_encoder_in_half_the_precision_gives_float32(tmp_path: Path) -> None:
    encoder = make_clip_and_t5(tmp_path)
    exact = encoder.encode_texts(["a cat"])
    for tower in encoder.towers:
        tower.module.to(torch.bfloat16)
    made = encoder.encode_texts(["a cat"])
    assert made.pooled.dtype == torch.float32
    assert {states.tokens.dtype for states in made.states} == {torch.float32}
    torch.testing.assert_close(made.pooled, exact.pooled, atol=0.1, rtol=0.1)
    assert encoder.encode_pixels(torch.zeros(1, 3, 32, 32)).dtype == torch.float32
