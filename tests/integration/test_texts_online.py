"""Texts of which no token states are stored: a training computes them, and its losses are those of stored ones."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from factories import make_denoiser_config, make_embedding_params, make_encoder_manifest, make_training_params

from compodiff.embeddings import SetEmbeddings, TextTower, embed_set, set_pass
from compodiff.embeddings.set_arrays import ONLINE, STORED
from compodiff.embeddings.set_texts import choose_kept
from compodiff.errors import EncoderMismatch, InputInvalid
from compodiff.model.checkpoint import ModelCard
from compodiff.model.sampling.process import Process
from compodiff.speed.synthetic import write_set
from compodiff.storage.atomic import write_json
from compodiff.training.curve import take_queries_of_set
from compodiff.training.examples import Mixture, SetExamples, write_examples
from compodiff.training.fit import TrainingMaterial, fit, make_denoiser

ROWS = 60
PARAMS = make_training_params(batch_size=32, steps=4, validate_every=1)


@pytest.fixture(autouse=True)
def one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COMPODIFF_WORKERS", "1")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, encoder_folder: Path) -> Path:
    """A set that is embedded both ways; read only."""
    home = tmp_path_factory.mktemp("home")
    write_set(home / "set", ROWS)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COMPODIFF_WORKERS", "1")
        for kept in (STORED, ONLINE):
            embed(home / kept, home / "set", encoder_folder, kept)
    return home


def embed(folder: Path, address: Path, encoder: Path, kept: str) -> None:
    embed_set(folder, address, encoder, make_embedding_params(batch_size=8, texts=kept))


def train(home: Path, out: Path, *kept: str, tower: TextTower) -> pd.DataFrame:
    """Train on the set as it is embedded in each of the ways `kept`, in turn of the tasks' shares."""
    torch.set_num_threads(1)
    sets = []
    for name in kept:
        own = SetEmbeddings.load(home / name, tower=tower)
        rows = len(own.open_array("keys"))
        if not (out / name).exists():
            write_examples(out / name, own, np.ones(rows, np.bool_), np.zeros(rows, np.int32))
        sets.append(SetExamples(name, own, out / name / "train"))
    share = 1 / len(sets)
    shares = {
        "text_to_image": {each.name: 0.25 * share for each in sets},
        "masked": {each.name: 0.25 * share for each in sets},
        "triplet": {each.name: 0.5 * share for each in sets},
    }
    encoder = sets[0].embeddings.encoder
    queries = take_queries_of_set(sets[0].embeddings, out / kept[0], 10, seed=3)
    material = TrainingMaterial(Mixture(tuple(sets), shares, "digest"), queries)
    config = make_denoiser_config(embedding_dim=encoder.embedding_dim, token_dims=encoder.token_dims)
    card = ModelCard(config, Process("diffusion", 1000), encoder.to_json())
    denoiser = make_denoiser(config, material, standardise=True, seed=17)
    name = "-".join(kept)
    fit(
        denoiser, card, material, PARAMS,
        folder=out / f"{name}.model", curve=out / f"{name}.csv", on_metrics=lambda _step, _metrics: None,
    )  # fmt: skip
    return pd.read_csv(out / f"{name}.csv")


def test_losses_are_those_of_stored_token_states(home: Path, encoder_folder: Path, tmp_path: Path) -> None:
    tower = TextTower(encoder_folder)
    stored, online = (train(home, tmp_path, kept, tower=tower) for kept in (STORED, ONLINE))
    assert online["loss"].to_numpy() == pytest.approx(stored["loss"].to_numpy(), rel=1e-3)
    assert online["cosine"].to_numpy() == pytest.approx(stored["cosine"].to_numpy(), abs=1e-3)


def test_one_mixture_takes_sets_of_either_kind(home: Path, encoder_folder: Path, tmp_path: Path) -> None:
    curve = train(home, tmp_path, STORED, ONLINE, tower=TextTower(encoder_folder))
    assert np.isfinite(curve["loss"]).all()


def test_only_the_texts_differ(home: Path, encoder_folder: Path) -> None:
    stored, online = (SetEmbeddings.load(home / kept, tower=TextTower(encoder_folder)) for kept in (STORED, ONLINE))
    assert (stored.manifest["texts"], online.manifest["texts"]) == (STORED, ONLINE)
    assert not (home / ONLINE / "text_tokens.npy").exists()
    for name in ("images", "masks", "texts_pooled", "text_keys", "triplet", "masked", "scored"):
        np.testing.assert_array_equal(stored.open_array(name), online.open_array(name))
    rows = [3, 0, 3, len(stored.texts_pooled) - 1]
    ((tokens, lengths),), ((computed, own_lengths),) = stored.read_tokens(rows), online.read_tokens(rows)
    np.testing.assert_array_equal(lengths, own_lengths)
    assert computed.dtype == tokens.dtype == np.float16
    np.testing.assert_allclose(computed, tokens, atol=4e-3)  # float16 keeps 11 bits: at values up to 4 that is 2e-3


def test_another_way_to_keep_texts_decodes_no_picture(
    home: Path, encoder_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    embed(tmp_path / "own", home / "set", encoder_folder, STORED)
    read: list[object] = []
    monkeypatch.setattr(set_pass, "decode", read.append)
    for kept in (ONLINE, STORED):
        embed(tmp_path / "own", home / "set", encoder_folder, kept)
        names = {path.name for path in (home / kept).glob("*.npy")}
        assert {path.name for path in (tmp_path / "own").glob("*.npy")} == names
        for name in names:
            assert (tmp_path / "own" / name).read_bytes() == (home / kept / name).read_bytes(), name
    assert read == []


def test_a_set_without_token_states_needs_its_encoder(home: Path, tmp_path: Path) -> None:
    with pytest.raises(InputInvalid, match=r"online holds texts without token states; name the encoder's folder"):
        SetEmbeddings.load(home / ONLINE).read_tokens([0])
    write_json(tmp_path / "manifest.json", make_encoder_manifest().to_json())
    with pytest.raises(EncoderMismatch, match=r"online was made with an encoder whose picture part.s name is"):
        SetEmbeddings.load(home / ONLINE, tower=TextTower(tmp_path))
    SetEmbeddings.load(home / STORED, tower=TextTower(tmp_path))  # which no tower is asked for


@pytest.mark.parametrize(("limit", "kept"), [(3_200_000, STORED), (3_199_999, ONLINE)])
def test_auto_goes_by_the_size_of_token_states(limit: int, kept: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A tenth of the rows has 10 texts of 32 characters: 100 texts x 10 tokens x 1,600 numbers x 2 bytes."""
    params = make_embedding_params(texts="auto", stored_text_bytes=limit)
    encoder = make_encoder_manifest(token_dim=1600, context_length=77)
    assert choose_kept(params, encoder, ["a" * 32] * 10, 0.1, "mine") == kept
    assert "texts of mine take about 0.0032 GB" in capsys.readouterr().err
    assert choose_kept(make_embedding_params(texts="online"), encoder, [], 1.0, "mine") == ONLINE
    assert capsys.readouterr().err == ""
