import json
import shutil
from pathlib import Path

import pandas as pd
import pytest
import safetensors.torch
import torch
from factories import make_embedded_encoder_params
from torch.nn import functional

from compodiff.catalogue.pictures import Catalogue
from compodiff.encoders import Encoder, load_encoder
from compodiff.encoders.edit_maps import OTHER
from compodiff.params import EncoderParams, PartParams, PartsParams
from compodiff.stages.train_encoder import train_encoder

ONE_OF_EACH = {"objects": 1, "scenes": 1, "collages": 1}
EDITS = {"seed": 1, "pictures": ONE_OF_EACH, "ridge": 0.4, "rank": 2, "least_cosine": 0.7}
PARAMS = EncoderParams(embedded=make_embedded_encoder_params(edits=EDITS), parts=None)


@pytest.fixture(scope="module")
def folder(small_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("artifacts") / "encoder"
    train_encoder(encoder=PARAMS, data=small_data, folder=folder)
    return folder


def test_captions_of_train_pictures_find_them(folder: Path, small_catalogue: Catalogue) -> None:
    encoder = load_encoder(folder)
    assert encoder.manifest.embedding_dim == 24
    assert encoder.manifest.picture.grids == {"stride_8": 2, "head": 1}
    pictures = small_catalogue.pictures
    known = pictures[(pictures["split"] == "train") & (pictures["twin_of"] == pictures.index)]
    embedded = functional.normalize(encoder.encode_images(small_catalogue.read(name) for name in known.index), dim=1)
    captions = functional.normalize(encoder.encode_texts(list(known["caption"])).pooled, dim=1)
    best = known["caption"].to_numpy()[(captions @ embedded.T).argmax(dim=1)]
    assert (best == known["caption"]).mean() > 0.5  # chance is about 1 in 40: both styles of a name are right


def test_nothing_but_train_pictures_enters(folder: Path, small_data: Path, tmp_path: Path) -> None:
    # Also: the same seed gives the same weights.
    shutil.copytree(small_data, tmp_path / "data")
    pictures = pd.read_parquet(tmp_path / "data" / "pictures.parquet")
    pictures[pictures["split"] == "train"].to_parquet(tmp_path / "data" / "pictures.parquet", index=False)
    train_encoder(encoder=PARAMS, data=tmp_path / "data", folder=tmp_path / "encoder")
    manifests = [json.loads((each / "manifest.json").read_text()) for each in (folder, tmp_path / "encoder")]
    assert manifests[0] == manifests[1]


def test_each_edit_is_learned_there_and_back_and_asked_for_in_its_wordings(folder: Path) -> None:
    encoder = load_encoder(folder)
    edits = encoder.edits
    assert edits is not None
    assert edits.down.shape == (
        30,
        24,
        2,
    )  # 11 without a colour, 8 tints, and what undoes them where that is none of these
    asked, shared = edits.recognise(encoder.embed_texts(["mirrored", "as a negative", "in red", "a dog"], "a test"))
    assert len({*asked[:3].tolist()} - {OTHER}) == 3
    assert shared[:3].tolist() == [False, False, True]  # hearts are red as well


def test_a_listed_model_is_stored_as_it_is(tiny_encoder: Encoder, small_data: Path, tmp_path: Path) -> None:
    weights = tmp_path / "weights.safetensors"
    safetensors.torch.save_file(dict(tiny_encoder.picture.model.state_dict()), weights)
    part = PartParams(library="open_clip", name="compodiff-tiny", weights=str(weights))
    params = EncoderParams(embedded=None, parts=PartsParams(picture=part, texts=[part]))
    train_encoder(encoder=params, data=small_data, folder=tmp_path / "encoder")
    assert load_encoder(tmp_path / "encoder").manifest == tiny_encoder.manifest


@pytest.mark.parametrize("listed", [None, PartsParams(picture="clip-l14", texts=["clip-l14"])])
def test_one_encoder_is_asked_for(listed: PartsParams | None) -> None:
    embedded = None if listed is None else PARAMS.embedded
    with pytest.raises(ValueError, match="one of embedded and parts"):
        EncoderParams(embedded=embedded, parts=listed)
