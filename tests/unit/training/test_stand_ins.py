"""Captions in the place of pictures: which, where they are moved to, and what a batch then holds."""

from dataclasses import replace

import numpy as np
import pytest
from worlds import training as training_world
from worlds.training import EMBEDDING_DIM, PARAMS, PICTURES, TEXTS, TRAIN_SHAPES

from compodiff.errors import InputInvalid
from compodiff.model.sampling.process import Process
from compodiff.training.batches import Batches
from compodiff.training.fit import TrainingMaterial
from compodiff.training.stand_ins import CaptionStandIns

TRAINED = 5 * len(TRAIN_SHAPES)


@pytest.fixture(scope="module")
def material(tmp_path_factory: pytest.TempPathFactory) -> TrainingMaterial:
    """The small world; a caption's embedding is its picture's, half as long and far away."""
    folder = tmp_path_factory.mktemp("world") / "embeddings"
    training_world.write_embeddings(folder)
    pictures = np.load(folder / "images.npy").astype(np.float32)
    pooled = np.random.default_rng(1).standard_normal((len(TEXTS), EMBEDDING_DIM))
    for row, name in enumerate(PICTURES):
        pooled[TEXTS.index(name.replace("-", " "))] = 0.5 * pictures[row] + 3
    np.save(folder / "texts_pooled.npy", pooled.astype(np.float16))
    return training_world.material(folder)


def test_a_caption_stands_where_its_picture_is_and_a_masked_picture_for_itself(material: TrainingMaterial) -> None:
    (examples,) = material.mixture.sets
    images = np.array([7, 3, len(PICTURES) + 2, 0])
    read = CaptionStandIns(examples).read(images)
    np.testing.assert_allclose(read, examples.embeddings.read_images(images), atol=0.02)  # float16 of values near 5
    assert (read[2] == examples.embeddings.read_images(images[2:3])[0]).all()
    assert (read[0] != examples.embeddings.read_images(images[:1])[0]).any()


def test_classes_are_no_part_of_what_stands_in(material: TrainingMaterial) -> None:
    (examples,) = material.mixture.sets
    told = examples.embeddings.encoder
    with_classes = replace(told, picture=replace(told.picture, class_dimensions=8))
    examples = replace(examples, embeddings=replace(examples.embeddings, encoder=with_classes))
    images = np.array([7, 3, len(PICTURES) + 2, 0])
    read = CaptionStandIns(examples).read(images)
    assert read.shape == (4, EMBEDDING_DIM - 8)
    np.testing.assert_allclose(read, examples.embeddings.read_images(images), atol=0.02)


@pytest.mark.parametrize(
    ("learns_from", "moved"), [("target_captions", {"target"}), ("captions", {"images", "target", "others"})]
)
def test_a_batch_holds_captions_where_its_params_say_so(
    material: TrainingMaterial, learns_from: str, moved: set[str]
) -> None:
    def make(wanted: str) -> dict[str, np.ndarray]:
        params = PARAMS.model_copy(update={"learns_from": wanted, "contrastive_weight": 1.0})
        (batch,) = Batches(material.mixture, params, Process("regression", 1000)).make_microbatches(
            2, rank=0, world_size=1
        )
        return {name: getattr(batch, name).numpy() for name in ("images", "target", "others")}

    pictures, found = make("pictures"), make(learns_from)
    for name, expected in pictures.items():
        np.testing.assert_allclose(found[name], expected, atol=0.02)
        assert (found[name] != expected).any() == (name in moved)


def test_an_encoder_whose_texts_lie_elsewhere_is_named(material: TrainingMaterial) -> None:
    (examples,) = material.mixture.sets
    apart = replace(examples.embeddings, encoder=replace(examples.embeddings.encoder, joint=None))
    with pytest.raises(InputInvalid, match="a caption stands for its picture by its own embedding, and "):
        CaptionStandIns(replace(examples, embeddings=apart)).read(np.array([0]))
