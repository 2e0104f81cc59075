"""Photographs that installed packages bring: text alone finds them with the dimensions of classes, among emoji."""

from importlib.resources import files
from pathlib import Path

import pytest
import torch
from factories import make_embedded_encoder_params
from PIL import Image
from torch import Tensor
from torch.nn import functional

from compodiff.catalogue.pictures import Catalogue
from compodiff.encoders import Encoder, load_encoder
from compodiff.params import EncoderParams
from compodiff.stages.train_encoder import train_encoder

# The small catalogue teaches little, so classes weigh more here than where trained dimensions are worth something.
CLASSES = {
    "dimensions": 256,
    "vocabulary": "imagenet-1k",
    "name_share": 0.3,
    "temperature": 0.025,
    "class_temperature": 0.05,
    "picture_length": 2.0,
    "text_weight": 40,
    "least_spread": 100.0,
}
MAPS = {"stride_8": {"grid": 2, "dimensions": 12}, "head": {"grid": 1, "dimensions": 12}}
PHOTOGRAPHS = {
    "a flower": ("sklearn", "datasets/images/flower.jpg"),
    "a temple": ("sklearn", "datasets/images/china.jpg"),
    "a soldier": ("matplotlib", "mpl-data/sample_data/grace_hopper.jpg"),
}


@pytest.fixture(scope="module")
def encoder(small_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Encoder:
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("artifacts") / "encoder"
    embedded = make_embedded_encoder_params(image_size=160, maps=MAPS, classes=CLASSES)
    train_encoder(encoder=EncoderParams(embedded=embedded, parts=None), data=small_data, folder=folder)
    return load_encoder(folder)


def read_photographs() -> list[Image.Image]:
    return [Image.open(str(files(package) / path)) for package, path in PHOTOGRAPHS.values()]


def rank(encoder: Encoder, catalogue: Catalogue, columns: slice) -> Tensor:
    """Return the place of each photograph for its words, among it, the other photographs and the catalogue."""
    emoji = encoder.encode_images(catalogue.read(name) for name in catalogue.pictures.index)
    pictures = torch.cat([encoder.encode_images(read_photographs()), emoji])
    texts = encoder.encode_texts(list(PHOTOGRAPHS)).pooled
    cosines = functional.normalize(texts[:, columns], dim=1) @ functional.normalize(pictures[:, columns], dim=1).T
    return (cosines > cosines.diag()[:, None]).sum(dim=1)


def test_words_find_photographs_among_emoji(encoder: Encoder, small_catalogue: Catalogue) -> None:
    assert encoder.manifest.embedding_dim == 24 + 256
    by_classes, by_training = (rank(encoder, small_catalogue, columns) for columns in (slice(24, None), slice(24)))
    assert by_classes.max() <= 4  # of 170
    assert by_training.max() > 20  # what was trained on emoji alone does not find them


def test_words_tell_photographs_apart(encoder: Encoder) -> None:
    pictures = functional.normalize(encoder.encode_images(read_photographs()), dim=1)
    texts = functional.normalize(encoder.encode_texts(list(PHOTOGRAPHS)).pooled, dim=1)
    assert (texts @ pictures.T).argmax(dim=1).tolist() == [0, 1, 2]
