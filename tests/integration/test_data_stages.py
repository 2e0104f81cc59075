"""The stages assemble_benchmark and embed, run as `compodiff run` does, over a small catalogue."""

import shutil
from pathlib import Path

import pandas as pd
import pytest

from compodiff.catalogue.benchmark_folder import SPLITS, read_queries
from compodiff.catalogue.captions import picture_captions
from compodiff.catalogue.pictures import Catalogue
from compodiff.embeddings import Embeddings
from compodiff.encoders import Encoder, save_encoder
from compodiff.errors import InputInvalid
from compodiff.stages.declaration import run_stage

PARAMS = Path(__file__).parents[2] / "params.yaml"
ACCEPTED = ["but with dark skin tone", "the blue one"]


@pytest.fixture(scope="module")
def root(small_data: Path, tiny_encoder: Encoder, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("project")
    shutil.copy(PARAMS, root)
    (root / "data").symlink_to(small_data)
    save_encoder(tiny_encoder, root / "artifacts" / "encoder")
    (root / "artifacts" / "validation").mkdir()
    accepted = pd.DataFrame({"relative_caption": ACCEPTED})
    accepted.to_parquet(root / "artifacts" / "validation" / "accepted.parquet")
    return root


def test_embed_needs_the_benchmark_and_then_holds_every_text(root: Path) -> None:
    with pytest.raises(InputInvalid, match="needs artifacts/benchmark"):
        run_stage("embed", root)
    run_stage("assemble_benchmark", root)
    run_stage("embed", root)
    embeddings = Embeddings.load(root / "artifacts" / "embeddings")
    catalogue = Catalogue.load(root / "data")
    asked = {query.relative_caption for split in SPLITS for query in read_queries(root / "artifacts/benchmark", split)}
    captions = {caption for row in catalogue.pictures.to_dict("records") for caption in picture_captions(row)}
    assert set(embeddings.text_row) == {"", *ACCEPTED, *asked, *captions}
    assert set(embeddings.picture_row) == set(catalogue.pictures.index)
