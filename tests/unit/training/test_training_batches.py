"""A batch is a pure function of seed and step, divides among processes, and holds its tasks in their shares."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from worlds import training as training_world
from worlds.training import PARAMS

from compodiff.embeddings import SetEmbeddings
from compodiff.errors import InputInvalid
from compodiff.model.network.context import NULL
from compodiff.model.sampling.process import Objective, Process
from compodiff.params import TaskShares
from compodiff.training.batches import SET, Batch, Batches, compute_relation_chances, divide_rows
from compodiff.training.examples import NOTHING, TARGET, TASKS, Mixture
from compodiff.training.fit import TrainingMaterial

PROCESS = Process("diffusion", 1000)
ONLY_TRIPLETS = TaskShares(text_to_image={}, masked={}, triplet={"world": 1.0})


@pytest.fixture(scope="module")
def material(tmp_path_factory: pytest.TempPathFactory) -> TrainingMaterial:
    folder = tmp_path_factory.mktemp("world") / "embeddings"
    training_world.write_embeddings(folder)
    return training_world.material(folder)


def batches(material: TrainingMaterial, **changes: object) -> Batches:
    return Batches(material.mixture, PARAMS.model_copy(update=changes), PROCESS)


def triplets_only(material: TrainingMaterial, **changes: object) -> Batches:
    mixture = replace(material.mixture, shares=ONLY_TRIPLETS.by_task)
    return Batches(mixture, PARAMS.model_copy(update=changes), PROCESS)


def only(parts: list[Batch]) -> Batch:
    (batch,) = parts
    return batch


def rows_of(batch: Batch) -> torch.Tensor:
    """What each row is made of, whatever the order in which texts and pictures are stored: (B, ...)."""
    starts = batch.texts.parts[0].lengths.cumsum(0) - batch.texts.parts[0].lengths
    first_tokens = batch.texts.parts[0].tokens[starts[batch.rows.text]]
    image = torch.cat([batch.images, torch.zeros_like(batch.target[:1])])[batch.rows.image]
    mask = torch.cat([batch.masks, torch.zeros(1, 64, 64, dtype=torch.bool)])[batch.rows.mask]
    noisy = torch.cat([batch.noise.flatten(1), batch.timestep], 1)
    return torch.cat([first_tokens, image, mask.flatten(1).sum(1, keepdim=True), batch.target, noisy], 1)


def test_same_seed_and_step_same_batch(material: TrainingMaterial) -> None:
    one, two = (only(batches(material).make_microbatches(3, rank=0, world_size=1)) for _ in range(2))
    assert torch.equal(rows_of(one), rows_of(two))
    other = only(batches(material).make_microbatches(4, rank=0, world_size=1))
    assert not torch.equal(one.noise, other.noise)
    assert not torch.equal(one.target, other.target)


@pytest.mark.parametrize(("world_size", "accumulation"), [(2, 1), (1, 4), (2, 2), (4, 4)])
def test_processes_and_microbatches_divide_the_same_rows(
    material: TrainingMaterial, world_size: int, accumulation: int
) -> None:
    whole = only(batches(material).make_microbatches(7, rank=0, world_size=1))
    divided = batches(material, accumulation_steps=accumulation)
    parts = [
        part for rank in range(world_size) for part in divided.make_microbatches(7, rank=rank, world_size=world_size)
    ]
    assert len(parts) == world_size * accumulation
    assert torch.equal(torch.cat([rows_of(part) for part in parts]), rows_of(whole))


def test_each_task_has_its_share_and_its_conditions(material: TrainingMaterial) -> None:
    batch = only(batches(material, condition_dropout=0.0).make_microbatches(0, rank=0, world_size=1))
    has_image, has_mask = batch.rows.image != NULL, batch.rows.mask != NULL
    assert int((~has_image).sum()) == 10  # text-to-image: 30 % of 32 rows, rounded by largest remainder
    assert int(has_mask.sum()) == 9
    assert bool(has_image[has_mask].all())
    assert torch.allclose(batch.images[batch.rows.image[has_mask]], 0.5 * batch.target[has_mask])
    triplets = has_image & ~has_mask
    assert not (batch.images[batch.rows.image[triplets]] == batch.target[triplets]).all(1).any()


def test_dropout_takes_texts_and_references_but_no_mask(material: TrainingMaterial) -> None:
    drawn = batches(material, condition_dropout=0.25, batch_size=4000)
    batch = only(drawn.make_microbatches(0, rank=0, world_size=1))
    null_text = int((batch.texts.parts[0].tokens == 0).all(1).nonzero())
    assert float((batch.rows.text == null_text).float().mean()) == pytest.approx(0.25, abs=0.03)
    assert int((batch.rows.mask != NULL).sum()) == 1200
    lost = float((batch.rows.image[batch.rows.mask != NULL] == NULL).float().mean())
    assert lost == pytest.approx(0.25, abs=0.04)


@pytest.mark.parametrize(("objective", "noisiest"), [("diffusion", 999), ("flow_matching", 1000), ("regression", 999)])
def test_a_share_of_the_noisy_embeddings_is_pure_noise(
    material: TrainingMaterial, objective: Objective, noisiest: int
) -> None:
    params = PARAMS.model_copy(update={"pure_noise_share": 0.4, "batch_size": 2000})
    drawn = Batches(material.mixture, params, Process(objective, 1000))
    timestep = only(drawn.make_microbatches(0, rank=0, world_size=1)).timestep
    expected = 1.0 if objective == "regression" else 0.4
    assert float((timestep == noisiest).float().mean()) == pytest.approx(expected, abs=0.04)
    assert timestep.max() == noisiest


def test_negatives_are_pictures_of_the_training_split(material: TrainingMaterial) -> None:
    batch = only(batches(material, contrastive_negatives=500).make_microbatches(0, rank=0, world_size=1))
    (of_set,) = material.mixture.sets
    targets = np.unique(of_set.open_table("text_to_image")[:, TARGET])
    train = torch.from_numpy(of_set.embeddings.images[targets].astype(np.float32))
    assert len(batch.others) == 500
    assert all((train == other).all(1).any() for other in batch.others)


def test_hard_negatives_of_the_drawn_triplets_are_wrong_answers_too(material: TrainingMaterial, tmp_path: Path) -> None:
    (of_set,) = material.mixture.sets
    shutil.copytree(of_set.folder, tmp_path / "train")
    table = of_set.open_table("triplet")
    negatives = np.stack([(table[:, TARGET] + 1) % 200, np.full(len(table), NOTHING)], axis=1)
    np.save(tmp_path / "train" / "negatives.npy", negatives)
    mixture = replace(material.mixture, sets=(replace(of_set, folder=tmp_path / "train"),))
    params = PARAMS.model_copy(update={"tasks": ONLY_TRIPLETS, "contrastive_negatives": 0, "condition_dropout": 0.0})
    mixture = replace(mixture, shares=ONLY_TRIPLETS.by_task)
    batch = only(Batches(mixture, params, PROCESS).make_microbatches(0, rank=0, world_size=1))
    images = torch.from_numpy(of_set.embeddings.images.astype(np.float32))
    wanted = [images[(int((images == target).all(1).nonzero()[0]) + 1) % 200] for target in batch.target]
    assert len(batch.others) == PARAMS.batch_size, "one each; those that are not there are left out"
    assert sorted(map(float, torch.stack(wanted).sum(1))) == pytest.approx(sorted(map(float, batch.others.sum(1))))


def test_sets_have_their_shares_and_only_what_they_hold(material: TrainingMaterial, tmp_path: Path) -> None:
    (one,) = material.mixture.sets
    folder = shutil.copytree(one.embeddings.folder, tmp_path / "doubled")
    np.save(folder / "images.npy", 2 * one.embeddings.images)  # as another encoder's would be
    other = replace(one, name="other", embeddings=SetEmbeddings.load(folder))
    shares = {"text_to_image": {"other": 0.25}, "masked": {}, "triplet": {"world": 0.5, "other": 0.25}}
    mixture = Mixture((one, other), shares)
    drawn = Batches(mixture, PARAMS.model_copy(update={"condition_dropout": 0.0}), PROCESS)
    batch = only(drawn.make_microbatches(0, rank=0, world_size=1))
    known = torch.from_numpy(one.embeddings.images.astype(np.float32))
    is_first = torch.tensor([bool((known == target).all(1).any()) for target in batch.target])
    assert int(is_first.sum()) == 16
    assert int((batch.rows.image == NULL).sum()) == 8
    plan = drawn.draw_plan(np.random.default_rng([PARAMS.seed, 0]))
    assert np.bincount(plan.rows[:, SET]).tolist() == [16, 16]


def test_rare_relations_are_drawn_more_often_than_their_number(material: TrainingMaterial) -> None:
    changes = {"batch_size": 4000, "condition_dropout": 0.0}
    embeddings = material.mixture.sets[0].embeddings
    dark = training_world.TEXTS.index("make it black")
    token = torch.from_numpy(embeddings.read_tokens([dark])[0].tokens.astype(np.float32))[-1]
    shares = []
    for exponent in (0.0, -0.5, -1.0):
        batch = only(
            triplets_only(material, relation_exponent=exponent, **changes).make_microbatches(0, rank=0, world_size=1)
        )
        ends = batch.texts.parts[0].lengths.cumsum(0) - 1
        is_dark = (batch.texts.parts[0].tokens[ends] == token).all(1)
        shares.append(float(is_dark[batch.rows.text].float().mean()))
    assert shares == pytest.approx([1 / 5, 1 / 3, 1 / 2], abs=0.03)  # one dark triplet to four bright ones


def test_mixup_joins_references_and_targets_of_one_relation(material: TrainingMaterial) -> None:
    changes = {"condition_dropout": 0.0, "mixup_concentration": 1.0}
    batch = only(triplets_only(material, **changes).make_microbatches(0, rank=0, world_size=1))
    pictures = torch.from_numpy(material.mixture.sets[0].embeddings.images.astype(np.float32))
    assert torch.cdist(batch.target, pictures).amin(1).median() > 0.1
    # The change of colour survives the mixture as a mixture of two such changes: it lies in their span.
    change = batch.target - batch.images[batch.rows.image]
    colours = torch.stack([pictures[row] for row in range(5)])
    span = torch.linalg.svd(colours - colours.mean(0), full_matrices=False).Vh[:4]
    assert torch.allclose(change @ span.T @ span, change, atol=0.02)  # float16 on disk, at values up to 8


def test_a_triplet_is_mixed_with_any_of_its_relation_and_with_no_other(material: TrainingMaterial) -> None:
    """The table of triplets has one relation after the other."""
    changes = {"condition_dropout": 0.0, "mixup_concentration": 1.0, "batch_size": 20_000}
    plan = triplets_only(material, **changes).draw_plan(np.random.default_rng(0))
    (of_set,) = material.mixture.sets
    triplet, starts = of_set.open_table("triplet"), of_set.relation_starts
    place = {tuple(row): number for number, row in enumerate(triplet.tolist())}
    drawn, partners = (
        np.array([place[tuple(row)] for row in rows[:, :SET].tolist()]) for rows in (plan.rows, plan.partners)
    )
    relation, of_partner = (np.searchsorted(starts, rows, side="right") for rows in (drawn, partners))
    assert len(starts) == 3
    assert np.array_equal(relation, of_partner)
    assert set(partners.tolist()) == set(range(len(triplet)))
    assert np.mean(drawn == partners) < 0.02  # by chance alone


def test_one_example_is_enough_for_a_task(material: TrainingMaterial, tmp_path: Path) -> None:
    (of_set,) = material.mixture.sets
    shutil.copytree(of_set.folder, tmp_path / "train")
    for task in TASKS:
        np.save(tmp_path / "train" / f"{task}.npy", of_set.open_table(task)[:1])
    np.save(tmp_path / "train" / "relation_starts.npy", np.array([0, 1]))
    few = replace(of_set, folder=tmp_path / "train")
    batch = only(
        Batches(replace(material.mixture, sets=(few,)), PARAMS, PROCESS).make_microbatches(0, rank=0, world_size=1)
    )
    assert {tuple(row) for row in batch.target.tolist()} == {
        tuple(of_set.embeddings.images[few.open_table(task)[0, TARGET]].astype(np.float32).tolist()) for task in TASKS
    }


def test_what_the_network_multiplies_goes_to_its_device(material: TrainingMaterial) -> None:
    """The device `meta` takes the shapes and leaves the numbers; what says which text a row has stays on the CPU."""
    batch = only(batches(material).make_microbatches(0, rank=0, world_size=1))
    moved = batch.to(torch.device("meta"))

    def tensors(of: Batch) -> list[torch.Tensor]:
        return [of.texts.parts[0].tokens, of.images, of.masks, of.target, of.others, of.noise, of.timestep]

    assert [each.device.type for each in tensors(moved)] == ["meta"] * 7
    assert moved.rows is batch.rows
    assert moved.texts.parts[0].lengths is batch.texts.parts[0].lengths
    assert [(each.shape, each.dtype) for each in tensors(moved)] == [
        (each.shape, each.dtype) for each in tensors(batch)
    ]
    same = batch.to(torch.device("cpu"))
    assert all(torch.equal(one, other) for one, other in zip(tensors(batch), tensors(same), strict=True))


def test_a_share_without_examples_is_refused(material: TrainingMaterial, tmp_path: Path) -> None:
    (of_set,) = material.mixture.sets
    shutil.copytree(of_set.folder, tmp_path / "train")
    np.save(tmp_path / "train" / "triplet.npy", of_set.open_table("triplet")[:0])
    mixture = replace(material.mixture, sets=(replace(of_set, folder=tmp_path / "train"),))
    with pytest.raises(InputInvalid, match="no example of the set world trains the task triplet"):
        Batches(mixture, PARAMS, PROCESS)


@given(
    st.integers(0, 5000),
    st.lists(st.floats(0.01, 1), min_size=1, max_size=4).map(lambda shares: [share / sum(shares) for share in shares]),
)
def test_whole_counts_add_up_and_are_near_their_shares(total: int, shares: list[float]) -> None:
    counts = divide_rows(total, {str(number): share for number, share in enumerate(shares)})
    assert sum(counts.values()) == total
    assert all(abs(counts[str(number)] - share * total) < 1 + 1e-6 for number, share in enumerate(shares))


@given(st.lists(st.integers(1, 200), min_size=1, max_size=5), st.floats(-1, 0))
def test_chances_of_a_relation_follow_its_count_to_the_power(sizes: list[int], exponent: float) -> None:
    chances = np.concatenate([[0.0], compute_relation_chances(np.cumsum([0, *sizes]), exponent)])
    expected = np.array([size ** (1 + exponent) for size in sizes])
    assert np.diff(chances) == pytest.approx(expected / expected.sum())
    assert chances[-1] == 1.0
