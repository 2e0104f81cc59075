"""Stage 1 on a folder of clip-retrieval: imported, embedded, judged and trained on without one picture."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from factories import draw_noise
from worlds.foreign import bring

from compodiff.encoders import Encoder, save_encoder
from compodiff.encoders.encoder import Encoder as EncoderClass
from compodiff.stages.declaration import run_stage

PARAMS = Path(__file__).parents[2] / "params.yaml"
NOUNS, COLOURS = (
    ("disc", "dog", "cat", "house", "car", "tree", "hat", "boat"),
    ("red", "blue", "green", "white", "black"),
)
CAPTIONS = [f"a {colour} {noun}" for noun in NOUNS for colour in COLOURS]


@pytest.fixture
def project(tmp_path: Path, tiny_encoder: Encoder, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project whose only set is a folder of clip-retrieval, and an encoder."""
    monkeypatch.setenv("COMPODIFF_WORKERS", "1")
    monkeypatch.setenv("COMPODIFF_TRAINING_PROCESSES", "1")
    root = tmp_path / "project"
    save_encoder(tiny_encoder, root / "artifacts" / "encoder")
    pictures = tiny_encoder.encode_images([draw_noise(seed) for seed in range(len(CAPTIONS))], 8).numpy()
    pictures /= np.linalg.norm(pictures, axis=1, keepdims=True)
    for part, (name, rows) in enumerate((("train", slice(0, 30)), ("validation", slice(30, 40)))):
        folder = tmp_path / "laion"
        for kind in ("img_emb", "metadata"):
            (folder / kind).mkdir(parents=True, exist_ok=True)
        np.save(folder / "img_emb" / f"img_emb_{part}.npy", pictures[rows].astype(np.float16))
        own = CAPTIONS[rows]
        table = pa.table({"image_path": own, "caption": own, "key": [f"{part}-{row}" for row in range(len(own))],
                          "split": [name] * len(own)})  # fmt: skip
        pq.write_table(table, folder / "metadata" / f"metadata_{part}.parquet")
    bring(tmp_path / "laion", "clip-retrieval", tmp_path / "set", encoder=str(root / "artifacts" / "encoder"))
    (root / "params.yaml").write_text(yaml.safe_dump(small_params(tmp_path), sort_keys=False))
    return root


def small_params(folder: Path) -> dict[str, Any]:
    """The default's params with one set of pairs."""
    params: dict[str, Any] = yaml.safe_load(PARAMS.read_text(encoding="utf-8"))
    reads = {"recipe": "own", "reads": str(folder / "set" / "set.json"), "min_rows": 1, "floors": None}
    params["sets"] = {"laion": reads}
    for name in ("prior", "composed", "distillation", "finetuning"):
        params[name]["tasks"] = {"text_to_image": {"laion": 1.0}, "masked": {}, "triplet": {}}
        params[name]["curve"] = {"set": "laion", "benchmark": None, "queries": 8}
    params["prior"] |= {"steps": 3, "warmup_steps": 1, "batch_size": 8, "validate_every": 3, "checkpoint_every": 3}
    params["prior"] |= {"contrastive_negatives": 8}
    return params


def test_stage_one_trains_on_embeddings_without_a_picture(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(EncoderClass, "preprocess", lambda *_: pytest.fail("a picture was looked at"))
    (project / "artifacts" / "benchmarks").mkdir()  # of which none is built
    (project / "artifacts" / "benchmark_embeddings").mkdir()
    for stage in ("make_set@laion", "embed@laion", "validate@laion", "mix@prior", "train_prior"):
        run_stage(stage, project)
    rows = pq.read_table(project / "artifacts" / "validation" / "laion" / "rows.parquet").to_pandas()
    assert rows["accepted"].all()
    assert rows["split"].value_counts().to_dict() == {"train": 30, "validation": 10}
    curve = pd.read_csv(project / "artifacts" / "curves" / "prior.csv")
    assert np.isfinite(curve.select_dtypes("number").to_numpy()).any()
    assert (project / "artifacts" / "prior").is_dir()
