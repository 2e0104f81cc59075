"""An encoder of two text parts from the stages that embed to search: the denoiser attends to the tokens of both."""

import csv
import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from factories import make_random_denoiser
from typer.testing import CliRunner
from worlds.clip_and_t5 import CLIP, T5, make_encoder_of_parts
from worlds.experiments import make_project

from compodiff.cli import app
from compodiff.embeddings import Embeddings, SetEmbeddings, TextTower
from compodiff.embeddings.set_making import embed_set
from compodiff.encoders import Encoder, load_encoder, save_encoder
from compodiff.errors import CompoDiffError, EncoderMismatch
from compodiff.model.checkpoint import load_model
from compodiff.params import load_params
from compodiff.search.composer import Composer
from compodiff.search.query import Query
from compodiff.stages.declaration import run_stage

SHORT = {"steps": 4, "warmup_steps": 2, "validate_every": 2, "checkpoint_every": 4}
TRAINED = {"train_prior": "prior", "train_composed": "composed", "distill": "distilled"}
SECOND = "further_text_projections.0.weight"


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Encoder:
    return make_encoder_of_parts(tmp_path_factory.mktemp("weights"))


@pytest.fixture(scope="module")
def project(small_data: Path, encoder: Encoder, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project in which all stages up to the index have run, its models trained for four steps."""
    root = make_project(tmp_path_factory.mktemp("project"), small_data, encoder)
    content = yaml.safe_load((root / "params.yaml").read_text())
    for section in ("prior", "composed", "distillation"):
        content[section] |= SHORT
    (root / "params.yaml").write_text(yaml.safe_dump(content))
    for stage in ("mix@prior", "mix@composed", *TRAINED, "set_dials", "build_index"):
        run_stage(stage, root)
    return root


@pytest.fixture
def invoke(project: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Run a command in the project."""
    monkeypatch.chdir(project)

    def run(*arguments: object) -> str:
        result = CliRunner().invoke(app, list(map(str, arguments)))
        if isinstance(result.exception, CompoDiffError):
            raise result.exception
        assert result.exit_code == 0, (result.output, result.exception)
        return result.stdout

    return run


def test_token_states_are_stored_a_text_part_each(project: Path) -> None:
    encoder = load_encoder(project / "artifacts" / "encoder")
    of_set = SetEmbeddings.load(project / "artifacts" / "embeddings" / "emoji")
    of_benchmark = Embeddings.load(project / "artifacts" / "benchmark_embeddings" / "emoji")
    files = {path.name for path in of_set.folder.glob("text_*.npy")} - {"text_to_image.npy"}
    assert files == {f"text_{name}.npy" for name in ("keys", "tokens", "offsets", "tokens_2", "offsets_2")}
    row = {text: number for text, number in of_benchmark.text_row.items() if number < 40}
    states = encoder.encode_texts(list(row)).states
    read = of_benchmark.read_tokens(list(row.values()))
    assert [own.tokens.shape[1] for own in read] == [24, 16] == [own.shape[1] for own, _ in of_set.read_tokens([0])]
    for own, part in zip(read, states, strict=True):
        assert own.lengths.tolist() == part.mask.sum(1).tolist()
        np.testing.assert_allclose(own.tokens, part.tokens[part.mask].numpy(), atol=4e-3)
    assert not np.array_equal(read[0].lengths, read[1].lengths), "each part has tokens of its own"


def test_every_training_learns_how_to_see_the_second_part(project: Path) -> None:
    weights = []
    for name in TRAINED.values():
        denoiser, card = load_model(project / "artifacts" / name)
        assert card.denoiser.token_dims == (24, 16)
        weights.append(denoiser.state_dict()[SECOND])
        with (project / "artifacts" / "curves" / f"{name}.csv").open() as file:
            assert all(np.isfinite(float(line["loss"])) for line in csv.DictReader(file))
    assert not any(torch.equal(one, other) for one, other in pairwise(weights))


def test_the_same_tokens_are_computed_as_training_reads(project: Path, tmp_path: Path, one_process: None) -> None:
    artifacts = project / "artifacts"
    stored = SetEmbeddings.load(artifacts / "embeddings" / "emoji")
    params = load_params(project / "params.yaml").embedding.model_copy(update={"texts": "online"})
    embed_set(tmp_path / "emoji", artifacts / "sets" / "emoji", artifacts / "encoder", params)
    assert not list(tmp_path.glob("emoji/text_tokens*"))
    online = SetEmbeddings.load(tmp_path / "emoji", tower=TextTower(artifacts / "encoder"))
    for one, other in zip(stored.read_tokens([5, 0, 5]), online.read_tokens([5, 0, 5]), strict=True):
        assert one.lengths.tolist() == other.lengths.tolist()
        np.testing.assert_allclose(one.tokens, other.tokens, atol=4e-3)


def test_a_search_asks_by_both_parts(project: Path, invoke: Any) -> None:
    found = json.loads(invoke("search", "--model", "artifacts", "--json", "--text", "a red heart"))
    assert len(found["results"]) > 5
    loaded = Composer.load(project / "artifacts" / "composed", project / "artifacts" / "encoder")
    denoiser = make_random_denoiser(loaded.card.denoiser)
    denoiser.output_projection.weight.normal_(generator=torch.Generator().manual_seed(1))
    composer = Composer(loaded.encoder, denoiser, loaded.card, loaded.sampling)
    query = Query(None, "a red heart")
    answer = composer.compose([query])
    for projection in (denoiser.text_projection, *denoiser.further_text_projections):
        weight = projection.weight.clone()
        projection.weight.zero_()
        assert not torch.allclose(composer.compose([query]), answer, atol=1e-3)
        projection.weight.copy_(weight)
    torch.testing.assert_close(composer.compose([query]), answer)


def test_a_benchmark_scores_every_row(project: Path, invoke: Any, tmp_path: Path) -> None:
    root = project / "artifacts" / "benchmarks" / "emoji"
    options = ("--root", root, "--model", "artifacts", "--no-track", "--json", tmp_path / "out.json", "--steps", "1")
    invoke("benchmark", "run", "triplets", *options)
    content = json.loads((tmp_path / "out.json").read_text())
    assert content["rows"].keys() == {"image_only", "text_only", "sum", "product", "composed"}
    assert [part["name"] for part in content["record"]["encoder"]["texts"]] == [CLIP, T5]


def test_the_experiment_compares_each_text_encoder_alone_with_both(project: Path, invoke: Any) -> None:
    invoke("experiment", "text-encoder", "--no-track", "--training-steps", "2")
    with (project / "artifacts" / "experiments" / "text-encoder" / "points.csv").open() as file:
        points = [point["text"] for point in csv.DictReader(file)]
    assert points == [CLIP, T5, f"{CLIP} + {T5}", "mean of token states", "pooled embedding"]


@pytest.mark.parametrize(("texts", "named"), [((CLIP,), "number of text parts is 2, the one in use has 1"),
    ((T5, CLIP), f"text part 1's name is {CLIP}, the one in use has {T5}")])  # fmt: skip
def test_a_model_of_other_text_parts_is_met_at_the_door(
    project: Path, tmp_path: Path, texts: tuple[str, ...], named: str
) -> None:
    artifacts = project / "artifacts"
    save_encoder(make_encoder_of_parts(tmp_path, texts), tmp_path / "encoder")
    with pytest.raises(EncoderMismatch, match=rf"the model .*composed was made with an encoder whose {named}"):
        Composer.load(artifacts / "composed", tmp_path / "encoder")
