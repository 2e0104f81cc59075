"""The stages that assemble both benchmarks, and embed, run as `compodiff run` does, over a small catalogue."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from factories import make_floors

from compodiff.catalogue.captions import list_picture_captions
from compodiff.catalogue.emoji_benchmark import SPLITS, read_queries
from compodiff.catalogue.pictures import Catalogue
from compodiff.embeddings import Embeddings
from compodiff.encoders import load_encoder
from compodiff.errors import InputInvalid
from compodiff.pairs.pair import CaptionPair
from compodiff.params import load_params
from compodiff.scenes.generator import SpriteGenerator, make_sprite_pairs
from compodiff.stages.declaration import run_stage
from compodiff.storage import shards
from compodiff.triplets.making import TripletMaker, plan_shards
from compodiff.triplets.manifest import finish

PARAMS = Path(__file__).parents[2] / "params.yaml"
SYNTHESIS = load_params(PARAMS).synthesis


@pytest.fixture(scope="module")
def pairs(small_catalogue: Catalogue) -> list[CaptionPair]:
    """One family of scenes in each split."""
    return [it for it in make_sprite_pairs(small_catalogue, SYNTHESIS) if "-000000-" in it.key]


@pytest.fixture(scope="module")
def root(
    small_data: Path, pairs: list[CaptionPair], encoder_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A project up to its validated triplets."""
    root = tmp_path_factory.mktemp("project")
    shutil.copy(PARAMS, root)
    (root / "data").symlink_to(small_data)
    artifacts = root / "artifacts"
    shutil.copytree(encoder_folder, artifacts / "encoder")
    (artifacts / "triplets").mkdir()
    plans = plan_shards(artifacts / "triplets", pairs, 100)
    generator = SpriteGenerator(small_data, SYNTHESIS)
    maker = TripletMaker(lambda: generator, artifacts / "encoder", make_floors(), 8)
    for plan in plans:
        maker(plan)
    finish(artifacts / "triplets", [plan.path for plan in plans], ())
    rows = shards.read_table(artifacts / "triplets" / "manifest.parquet")
    (artifacts / "validation").mkdir()
    shards.write_table(artifacts / "validation" / "accepted.parquet", rows)
    return root


@pytest.fixture(scope="module")
def embeddings(root: Path) -> Embeddings:
    with pytest.raises(InputInvalid, match="needs artifacts/benchmark"):
        run_stage("embed", root)
    for stage in ("assemble_benchmark", "assemble_scenes", "embed"):
        run_stage(stage, root)
    return Embeddings.load(root / "artifacts" / "embeddings")


def test_embed_holds_every_picture_and_text(root: Path, embeddings: Embeddings, small_catalogue: Catalogue) -> None:
    folders = [root / "artifacts" / name for name in ("benchmark", "scenes")]
    queries = [query for folder in folders for split in SPLITS for query in read_queries(folder, split)]
    captions = {
        caption for row in small_catalogue.pictures.to_dict("records") for caption in list_picture_captions(row)
    }
    rows = shards.read_table(root / "artifacts" / "validation" / "accepted.parquet")
    written = {text for column in rows if column.endswith("_caption") for text in rows[column]}
    asked = {text for query in queries for text in (query.relative_caption, query.negative)}
    assert set(embeddings.text_row) == {"", *asked, *captions, *written}
    named = {name for query in queries for name in (query.reference, *query.targets)}
    drawn = {*rows["reference"], *rows["target"]}
    assert set(embeddings.picture_row) >= {*small_catalogue.pictures.index, *named, *drawn}


def test_generated_pictures_are_those_of_the_shards_and_bring_their_masks(
    root: Path, embeddings: Embeddings, small_data: Path, pairs: list[CaptionPair]
) -> None:
    encoder = load_encoder(root / "artifacts" / "encoder")
    ends = zip(embeddings.masked_pictures, embeddings.masked_targets, strict=True)
    row_of = {frozenset(pair): row for row, pair in enumerate(ends)}
    for made in SpriteGenerator(small_data, SYNTHESIS).generate(pairs):
        it = made.captions
        expected = encoder.encode_images([made.target], 1)[0].numpy()
        np.testing.assert_allclose(embeddings.pictures[embeddings.picture_row[it.target]], expected, atol=1e-4)
        row = row_of[frozenset((it.reference, it.target))]
        np.testing.assert_array_equal(embeddings.read_masks([row])[0], made.mask)
        assert embeddings.masked_splits[row] == it.split
    for query in read_queries(root / "artifacts" / "scenes", "test"):
        if query.mask:
            assert query.reference in embeddings.masked_pictures
