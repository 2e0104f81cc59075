"""`compodiff captions` as a person runs it: keywords, then a model that learns from them, then what it writes."""

import json
from pathlib import Path

import pytest
import torch
import yaml
from typer.testing import CliRunner
from worlds.captions import ANIMALS, PLACES, tiny_model, tiny_tokenizer

from compodiff.captions.language_model import save_language_model
from compodiff.cli import app
from compodiff.encoders import Encoder, save_encoder
from compodiff.errors import InputInvalid
from compodiff.pairs.caption_file import read_caption_pairs

ROOT = Path(__file__).parents[2]


@pytest.fixture
def project(tmp_path: Path, tiny_encoder: Encoder, monkeypatch: pytest.MonkeyPatch) -> Path:
    params = yaml.safe_load((ROOT / "params.yaml").read_text())
    params["captions"]["keywords"] |= {"min_similarity": -1.0, "max_similarity": 1.0, "min_count": 2}
    params["captions"]["language_model"] |= {"epochs": 2, "batch_size": 4, "give_up_after": 16, "max_tokens": 120}
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(params))
    save_encoder(tiny_encoder, tmp_path / "artifacts" / "encoder")
    (tmp_path / "captions.txt").write_text("\n".join(f"a {one} {place}" for one in ANIMALS for place in PLACES))
    tokenizer = tiny_tokenizer()
    save_language_model(tiny_model(tokenizer), tokenizer, tmp_path / "opt")
    monkeypatch.chdir(tmp_path)
    torch.set_num_threads(1)
    return tmp_path


def answer(*arguments: str) -> dict[str, object]:
    result = CliRunner().invoke(app, ["captions", *arguments, "--json"], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    found: dict[str, object] = json.loads(result.stdout.splitlines()[-1])
    return found


def test_keyword_captions_teach_a_model(project: Path) -> None:
    made = answer("keywords", "captions.txt", "--to", "keywords.parquet", "--seed", "3")
    pairs = list(read_caption_pairs(project / "keywords.parquet"))
    assert len(pairs) == made["pairs"] == sum(made["by_relation"].values())  # type: ignore[attr-defined]
    assert len(pairs) > 16

    tuned = answer("fine-tune", "keywords.parquet", "--model", "opt", "--to", "editor", "--lora")
    assert tuned["rows"] == len(pairs)
    assert tuned["steps"] == 2 * (len(pairs) // 4)
    assert sorted(path.suffix for path in (project / "editor").iterdir() if path.suffix != ".json") == [".safetensors"]

    # So few steps teach nothing, and the command says so instead of sampling for ever.
    with pytest.raises(InputInvalid, match="none of the first 16 rows parses"):
        answer("write", "captions.txt", "--model", "editor", "--to", "written.parquet", "-n", "5")
    assert not (project / "written.parquet").exists()
