"""Which examples train: those of accepted rows, each once, of one split; triplets of one relation together."""

from pathlib import Path

import numpy as np
import pytest
from worlds import training as training_world

from compodiff.embeddings import SetEmbeddings
from compodiff.errors import InputInvalid
from compodiff.training.examples import IMAGE, MASK, NOTHING, TARGET, TEXT, SetExamples, write_examples


@pytest.fixture
def embeddings(tmp_path: Path) -> SetEmbeddings:
    training_world.write_embeddings(tmp_path / "embeddings")
    return SetEmbeddings.load(tmp_path / "embeddings")


def examples_of(embeddings: SetEmbeddings, folder: Path, split: str = "train") -> SetExamples:
    return SetExamples("world", embeddings, folder / split)


def test_examples_are_those_of_the_rows_and_of_their_split(embeddings: SetEmbeddings) -> None:
    written = embeddings.folder / "examples"
    train, validation = (examples_of(embeddings, written, split) for split in ("train", "validation"))
    captions, triplets = training_world.captions(), training_world.triplets()
    table = train.open_table("text_to_image")
    assert len(table) == len(captions)
    assert (table[:, [IMAGE, MASK]] == NOTHING).all()
    texts, pictures = training_world.TEXTS, training_world.PICTURES
    wanted = set(triplets[["relative_caption", "reference", "target"]].itertuples(index=False, name=None))
    drawn = train.open_table("triplet")
    assert {(texts[row[TEXT]], pictures[row[IMAGE]], pictures[row[TARGET]]) for row in drawn} == wanted
    assert train.relation_starts.tolist() == [0, 640, 800]  # bright, dark
    assert {texts[row[TEXT]] for row in drawn[640:]} == {"make it black"}
    unseen = {pictures[row[TARGET]].split("-")[0] for row in validation.open_table("triplet")}
    assert unseen == set(training_world.UNSEEN_SHAPES)
    masked = train.open_table("masked")
    assert (masked[:, IMAGE] == masked[:, MASK] + len(pictures)).all()


def test_rows_that_were_not_accepted_give_no_example(embeddings: SetEmbeddings, tmp_path: Path) -> None:
    rows = len(np.load(embeddings.folder / "splits.npy"))
    accepted = np.arange(rows) >= 3  # the first captions are not
    accepted[len(training_world.captions())] = False  # nor is the first triplet
    write_examples(tmp_path / "fewer", embeddings, accepted, np.zeros(rows, np.int32))
    examples = examples_of(embeddings, tmp_path / "fewer")
    assert len(examples.open_table("text_to_image")) == len(training_world.captions()) - 3
    assert len(examples.open_table("masked")) == len(training_world.captions()) - 3
    assert len(examples.open_table("triplet")) == len(training_world.triplets()) - 1
    assert examples.relation_starts.tolist() == [0, len(training_world.triplets()) - 1]


def test_what_several_rows_say_of_a_picture_is_one_example(embeddings: SetEmbeddings, tmp_path: Path) -> None:
    table = np.load(embeddings.folder / "text_to_image.npy")
    table[1, 1:] = table[0, 1:]
    np.save(embeddings.folder / "text_to_image.npy", table)
    rows = len(np.load(embeddings.folder / "splits.npy"))
    write_examples(tmp_path / "once", embeddings, np.ones(rows, np.bool_), np.zeros(rows, np.int32))
    assert len(examples_of(embeddings, tmp_path / "once").open_table("text_to_image")) == len(table) - 1


def test_hard_negatives_stand_beside_their_triplets(embeddings: SetEmbeddings, tmp_path: Path) -> None:
    first = len(training_world.captions())
    np.save(embeddings.folder / "negatives.npy", np.array([(first, 7), (first, 8), (first + 2, 9)]))
    rows = len(np.load(embeddings.folder / "splits.npy"))
    write_examples(tmp_path / "hard", embeddings, np.ones(rows, np.bool_), np.zeros(rows, np.int32))
    examples = examples_of(embeddings, tmp_path / "hard")
    assert examples.negatives[:3].tolist() == [[7, 8], [NOTHING, NOTHING], [9, NOTHING]]
    assert len(examples.negatives) == len(examples.open_table("triplet"))


def test_a_missing_or_damaged_table_is_named(embeddings: SetEmbeddings) -> None:
    examples = examples_of(embeddings, embeddings.folder / "examples")
    path = examples.folder / "triplet.npy"
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(InputInvalid, match=r"triplet.npy is missing or damaged .* --force validate@world"):
        examples.open_table("triplet")
    path.unlink()
    with pytest.raises(InputInvalid, match=r"triplet.npy is missing or damaged"):
        examples.open_table("triplet")
