"""Hard negatives that are looked for: the nearest pictures that are not the target, in every batch that draws it."""

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import numpy as np
import pytest
from worlds import training as training_world
from worlds.training import PARAMS

from compodiff.model.sampling.process import Process
from compodiff.training.batches import Batches
from compodiff.training.examples import TARGET
from compodiff.training.fit import TrainingMaterial
from compodiff.training.mining import NegativeMiner


@pytest.fixture(scope="module")
def material(tmp_path_factory: pytest.TempPathFactory) -> TrainingMaterial:
    folder = tmp_path_factory.mktemp("world") / "embeddings"
    training_world.write_embeddings(folder)
    return training_world.material(folder)


def test_finds_the_nearest_targets_again_and_again(material: TrainingMaterial) -> None:
    (examples,) = material.mixture.sets
    pool = np.unique(examples.open_table("triplet")[:, TARGET])
    vectors = examples.embeddings.read_images(pool)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    miner = NegativeMiner(examples, 3)
    for target in (int(pool[5]), int(pool[40]), int(pool[5])):
        scores = vectors @ vectors[pool == target][0]
        assert sorted(miner.find(np.array([target]))) == sorted(pool[np.argsort(-scores)[1:4]])
    together = miner.find(np.array([pool[5], pool[40], pool[5]]))
    assert set(together) == {int(each) for target in (5, 40) for each in miner.find(pool[[target]])}


def test_several_readers_of_batches_find_the_same(material: TrainingMaterial) -> None:
    (examples,) = material.mixture.sets
    pool = np.unique(examples.open_table("triplet")[:, TARGET])
    expected = NegativeMiner(examples, 3).find(pool)
    for _ in range(10):
        miner, together = NegativeMiner(examples, 3), Barrier(4)

        def find(miner: NegativeMiner = miner, together: Barrier = together) -> np.ndarray:
            together.wait()
            return miner.find(pool)

        with ThreadPoolExecutor(4) as readers:
            found = [reader.result() for reader in [readers.submit(find) for _ in range(4)]]
        assert all(np.array_equal(each, expected) for each in found)


def test_a_batch_has_them_among_its_wrong_answers_and_is_else_the_same(material: TrainingMaterial) -> None:
    def make(mined: int) -> tuple[np.ndarray, np.ndarray]:
        params = PARAMS.model_copy(update={"contrastive_mined": mined})
        batches = Batches(material.mixture, params, Process("diffusion", 1000))
        (batch,) = batches.make_microbatches(4, rank=0, world_size=1)
        return batch.target.numpy(), batch.others.numpy()

    (target, others), (same_target, more) = make(0), make(2)
    assert (target == same_target).all()
    assert (more[: len(others)] == others).all()
    assert len(more) > len(others)
