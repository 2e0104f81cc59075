"""Which rows train: looked up by id and text, masked pictures of the split only, no triplet of one picture."""

from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from worlds import training as training_world

from compodiff.embeddings import Embeddings
from compodiff.errors import InputInvalid
from compodiff.training.examples import IMAGE, MASK, NOTHING, TARGET, TEXT, make_training_examples


@pytest.fixture
def embeddings(tmp_path: Path) -> Embeddings:
    training_world.write_embeddings(tmp_path / "embeddings")
    return Embeddings.load(tmp_path / "embeddings")


def test_rows_are_those_of_the_named_pictures_and_texts(embeddings: Embeddings) -> None:
    captions, triplets = training_world.captions(), training_world.triplets()
    examples = make_training_examples(embeddings, captions, triplets)
    assert len(examples.text_to_image) == len(captions)
    assert (examples.text_to_image[:, [IMAGE, MASK]] == NOTHING).all()
    pictures, texts = list(embeddings.picture_row), list(embeddings.text_row)
    written = set(triplets[["relative_caption", "reference", "target"]].itertuples(index=False, name=None))
    assert {(texts[row[TEXT]], pictures[row[IMAGE]], pictures[row[TARGET]]) for row in examples.triplet} == written
    assert examples.relation_starts.tolist() == [0, 640, 800]  # bright, dark


def test_masked_pictures_come_with_the_captions_of_the_split(embeddings: Embeddings) -> None:
    captions = training_world.captions().iloc[:7]
    masked = make_training_examples(embeddings, captions).masked
    assert masked[:, TARGET].tolist() == [embeddings.picture_row[name] for name in captions["picture_id"]]
    assert (masked[:, IMAGE] == masked[:, MASK] + len(embeddings.pictures)).all()
    named = [embeddings.masked_pictures[row] for row in masked[:, MASK]]
    assert named == captions["picture_id"].tolist()


def test_a_known_mask_finds_either_end_by_its_captions_and_by_what_leads_there(embeddings: Embeddings) -> None:
    triplets = training_world.triplets()
    one, other = triplets.iloc[0], triplets.iloc[1]
    row = embeddings.masked_pictures.index(one["reference"])
    targets = [""] * len(embeddings.masked)
    targets[row] = one["target"]
    back = other.copy()
    back["reference"], back["target"] = one["target"], one["reference"]
    known = replace(embeddings, masked_targets=targets)
    texts, pictures = list(embeddings.text_row), list(embeddings.picture_row)
    captions = pd.DataFrame({"picture_id": [one["reference"], one["target"]], "caption": texts[1:3]})
    masked = make_training_examples(known, captions, pd.DataFrame([one, other, back])).masked
    of_row = {(texts[each[TEXT]], pictures[each[TARGET]]) for each in masked if each[MASK] == row}
    assert of_row == {
        (texts[1], one["reference"]),
        (texts[2], one["target"]),
        (one["relative_caption"], one["target"]),
        (back["relative_caption"], one["reference"]),
    }
    assert (masked[:, IMAGE] == masked[:, MASK] + len(embeddings.pictures)).all()


def test_what_has_no_embedding_is_named(embeddings: Embeddings) -> None:
    captions = training_world.captions()
    captions.loc[3, "caption"] = "a shape nobody embedded"
    with pytest.raises(InputInvalid, match="'a shape nobody embedded' has no embedding; run: dvc repro"):
        make_training_examples(embeddings, captions)


def test_a_triplet_of_one_picture_is_refused(embeddings: Embeddings) -> None:
    triplets = training_world.triplets()
    triplets.loc[5, "target"] = triplets.loc[5, "reference"]
    with pytest.raises(InputInvalid, match="shape0-green is reference and target of one triplet"):
        make_training_examples(embeddings, training_world.captions(), triplets)
