"""An encoder none of whose text parts shares the pictures' space: what compares texts with pictures says so."""

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest
import yaml
from typer.testing import CliRunner
from worlds.benchmark import make_models
from worlds.clip_and_t5 import EMBEDDING_DIM, T5, make_encoder_of_parts

from compodiff.captions.replacements import embed_terms
from compodiff.cli import app
from compodiff.embeddings import Embeddings, SetEmbeddings
from compodiff.encoders import Encoder, save_encoder
from compodiff.errors import InputInvalid
from compodiff.search.composer import Composer
from compodiff.search.query import Query
from compodiff.stages.declaration import run_stage

PARAMS = Path(__file__).parents[2] / "params.yaml"
WHY = rf"no text part of the encoder \({T5}\) shares the pictures' space"


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Encoder:
    return make_encoder_of_parts(tmp_path_factory.mktemp("weights"), [T5])


@pytest.fixture(scope="module")
def models(encoder: Encoder, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What --model takes, with the folder benchmark/ beside it."""
    root = tmp_path_factory.mktemp("models")
    make_models(root, encoder)
    return root


def test_a_benchmark_is_scored_without_the_rows_of_texts(
    models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copy(PARAMS, tmp_path)
    monkeypatch.chdir(tmp_path)
    asked = ("triplets", "--root", models / "benchmark", "--model", models, "--no-track", "--steps", "1")
    files = ("--json", "out.json", "--html", "out.html")
    result = CliRunner().invoke(app, list(map(str, ("benchmark", "run", *asked, *files))))
    assert result.exit_code == 0, (result.output, result.exception)
    assert "the baselines text_only, sum and product are left out: no text part" in result.stderr
    assert json.loads(Path("out.json").read_text())["rows"].keys() == {"image_only", "composed"}
    assert "src='data:image/png" in Path("out.html").read_text()
    assert Embeddings.load(models / "embeddings").texts_pooled.shape[1] == 0


def test_only_a_composed_query_can_be_asked(models: Path) -> None:
    composer = Composer.load(models / "composed", models / "encoder")
    assert composer.compose([Query(None, "a red heart")]).shape == (1, EMBEDDING_DIM)
    with pytest.raises(InputInvalid, match=f"the mode text goes by a text's own embedding, and {WHY}; take an encoder"):
        composer.prepare(Query(None, "a red heart", mode="text"))
    with pytest.raises(InputInvalid, match=f"what is subtracted is a text's own embedding, and {WHY}"):
        composer.prepare(Query(None, "a red heart", subtract="blue"))


def test_terms_have_no_meaning_to_be_compared_by(encoder: Encoder, tmp_path: Path) -> None:
    with pytest.raises(InputInvalid, match=f"terms are compared by meaning, and {WHY}"):
        embed_terms(["a cat", "a dog"], encoder, tmp_path, lambda _: None)


def test_rows_are_judged_by_their_pictures_alone(
    encoder: Encoder, small_data: Path, tmp_path: Path, one_process: None, capsys: pytest.CaptureFixture[str]
) -> None:
    content = yaml.safe_load(PARAMS.read_text())
    content["sets"]["scenes"] |= {"min_rows": 1, "families": {"train": 2, "validation": 1}}
    floors = dict.fromkeys(content["sets"]["scenes"]["floors"], 0.99)
    content["sets"]["scenes"]["floors"] = floors | {"image_image": -1.0}
    content["validation"]["max_rejected_fraction"] = 0.99
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(content))
    (tmp_path / "data").symlink_to(small_data)
    save_encoder(encoder, tmp_path / "artifacts" / "encoder")
    (tmp_path / "artifacts" / "benchmarks").mkdir()
    for stage in ("make_set@scenes", "embed@scenes"):
        run_stage(stage, tmp_path)
    assert SetEmbeddings.load(tmp_path / "artifacts" / "embeddings" / "scenes").texts_pooled.shape[1] == 0
    run_stage("validate@scenes", tmp_path)
    assert "image_image judges alone: no text part of the encoder" in capsys.readouterr().err
    rows = pd.read_parquet(tmp_path / "artifacts" / "validation" / "scenes" / "rows.parquet")
    assert rows["image_image"].notna().all()
    assert rows[[name for name in floors if name != "image_image"]].isna().all(axis=None)
    assert set(rows["rejected_by"]) == {""}, "a text that has no embedding is above every floor"
