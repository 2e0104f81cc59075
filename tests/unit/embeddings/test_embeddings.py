import hashlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from compodiff.catalogue.to_embed import collect_material
from factories import make_embedding_params
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from compodiff.catalogue.pictures import Catalogue
from compodiff.embeddings import (
    MASK_SIZE,
    EmbeddingMaterial,
    Embeddings,
    ExactMask,
    blank_masked,
    draw_mask,
    find_drawn_cells,
    make_embeddings,
)
from compodiff.encoders import Encoder
from compodiff.errors import EncoderMismatch, InputInvalid

PARAMS = make_embedding_params(batch_size=8, masks_per_picture=2, max_mask_fraction=0.6)


@pytest.fixture(scope="module")
def material(small_catalogue: Catalogue) -> EmbeddingMaterial:
    return collect_material(small_catalogue, ["but with dark skin tone", "a much longer wish: make it a blue circle"])


@pytest.fixture(scope="module")
def folder(material: EmbeddingMaterial, tiny_encoder: Encoder, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("artifacts") / "embeddings"
    make_embeddings(folder, tiny_encoder, material, PARAMS)
    return folder


@pytest.fixture(scope="module")
def embeddings(folder: Path) -> Embeddings:
    return Embeddings.load(folder)


def digests(folder: Path) -> dict[str, str]:
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in sorted(folder.iterdir())}


def test_each_picture_has_its_embedding(
    embeddings: Embeddings, tiny_encoder: Encoder, material: EmbeddingMaterial
) -> None:
    assert list(embeddings.picture_row) == list(material.pictures)
    chosen = ["twemoji-1F34E", "openmoji-2764"]
    expected = tiny_encoder.encode_images([material.read(name) for name in chosen])
    rows = [embeddings.picture_row[name] for name in chosen]
    # The batch size changes sums in the last place: 2e-6 was measured.
    np.testing.assert_allclose(embeddings.pictures[rows], expected.numpy(), atol=1e-5)


def test_each_text_has_its_tokens(embeddings: Embeddings, tiny_encoder: Encoder) -> None:
    assert embeddings.text_row[""] == 0
    texts = ["but with dark skin tone", "", "a much longer wish: make it a blue circle", "red apple"]
    rows = [embeddings.text_row[text] for text in texts]
    tokens, lengths = embeddings.read_tokens(rows)
    encoding = tiny_encoder.encode_texts(texts)
    assert lengths.tolist() == encoding.mask.sum(dim=1).tolist()
    assert tokens.dtype == np.float16
    # float16 keeps 11 bits: at values up to 4 that is 2e-3.
    np.testing.assert_allclose(tokens, encoding.tokens[encoding.mask].numpy(), atol=4e-3)
    np.testing.assert_allclose(embeddings.texts_pooled[rows], encoding.pooled.numpy(), atol=1e-5)


def test_masked_pictures_are_embedded_as_their_mask_says(
    embeddings: Embeddings, tiny_encoder: Encoder, material: EmbeddingMaterial, small_catalogue: Catalogue
) -> None:
    assert len(embeddings.masked) == 2 * len(material.masked_splits)
    assert set(embeddings.masked_splits) == {"train", "validation"}
    assert set(small_catalogue.pictures["split"].loc[embeddings.masked_pictures]) == {"train", "validation"}
    rows = [0, 1, len(embeddings.masked) - 1]
    pictures = [material.read(embeddings.masked_pictures[row]) for row in rows]
    pixels = torch.stack([tiny_encoder.preprocess(picture) for picture in pictures])
    masks = embeddings.read_masks(rows)
    expected = tiny_encoder.encode_pixels(blank_masked(pixels, torch.from_numpy(masks)))
    np.testing.assert_allclose(embeddings.masked[rows], expected.numpy(), atol=1e-5)
    for picture, mask in zip(pictures, masks, strict=True):
        drawn = find_drawn_cells(picture)
        assert mask[drawn].mean() >= PARAMS.min_mask_fraction
    assert (masks[0] != masks[1]).any(), "two masks of a picture differ"


def test_known_masks_are_blanked_beside_the_drawn_ones(
    material: EmbeddingMaterial, tiny_encoder: Encoder, tmp_path: Path
) -> None:
    first, second, third = list(material.masked_splits)[:3]
    cells = np.zeros((2, MASK_SIZE, MASK_SIZE), np.bool_)
    cells[0, :20], cells[1, 40:, 30:] = True, True
    exact = {
        first: [ExactMask(second, "train", cells[0]), ExactMask(third, "train", cells[1])],
        third: [ExactMask(first, "test", cells[1])],
    }
    few = replace(
        material, pictures=[third, second, first], masked_splits={first: "train"}, texts=[], exact_masks=exact
    )
    make_embeddings(tmp_path / "embeddings", tiny_encoder, few, PARAMS)
    embeddings = Embeddings.load(tmp_path / "embeddings")
    assert embeddings.masked_pictures == [third, first, first, first, first]
    assert embeddings.masked_splits == ["test", "train", "train", "train", "train"]
    assert embeddings.masked_targets == [first, "", "", second, third]
    assert embeddings.find_masked_row(first, cells[1]) == 4
    assert embeddings.find_masked_row(third, cells[1]) == 0
    assert embeddings.find_masked_row(second, cells[1]) is None
    assert embeddings.find_masked_row(third, cells[0]) is None
    for row, mask in ((0, cells[1]), (3, cells[0]), (4, cells[1])):
        np.testing.assert_array_equal(embeddings.read_masks([row])[0], mask)
        pixels = tiny_encoder.preprocess(material.read(embeddings.masked_pictures[row]))[None]
        expected = tiny_encoder.encode_pixels(blank_masked(pixels, torch.from_numpy(mask)[None]))[0]
        np.testing.assert_allclose(embeddings.masked[row], expected.numpy(), atol=1e-5)


def test_a_killed_run_goes_on_and_ends_in_the_same_bytes(
    folder: Path, material: EmbeddingMaterial, tiny_encoder: Encoder, tmp_path: Path
) -> None:
    reads: list[str] = []

    def killed_after(count: int) -> Callable[[str], Image.Image]:
        def read(name: str) -> Image.Image:
            if len(reads) == count:
                raise KeyboardInterrupt
            reads.append(name)
            return material.read(name)

        return read

    resumed = tmp_path / "embeddings"
    with pytest.raises(KeyboardInterrupt):
        make_embeddings(resumed, tiny_encoder, replace(material, read=killed_after(100)), PARAMS)
    assert not resumed.exists(), "nothing half-written under the final name"
    reads.clear()
    make_embeddings(resumed, tiny_encoder, replace(material, read=killed_after(-1)), PARAMS)
    assert len(reads) == len(material.pictures) - 64, "the finished chunk of 8 batches is kept"
    assert digests(resumed) == digests(folder)
    assert list(tmp_path.iterdir()) == [resumed], "the chunks are gone"


def test_chunks_of_other_params_are_not_used(
    material: EmbeddingMaterial, tiny_encoder: Encoder, tmp_path: Path
) -> None:
    few = replace(material, pictures=material.pictures[:70], texts=["red"], masked_splits={})
    calls = iter(range(1000))

    def killed(name: str) -> Image.Image:
        if next(calls) == 66:
            raise KeyboardInterrupt
        return material.read(name)

    with pytest.raises(KeyboardInterrupt):
        make_embeddings(tmp_path / "embeddings", tiny_encoder, replace(few, read=killed), PARAMS)
    names: list[str] = []

    def counted(name: str) -> Image.Image:
        names.append(name)
        return material.read(name)

    other = PARAMS.model_copy(update={"seed": 18})
    make_embeddings(tmp_path / "embeddings", tiny_encoder, replace(few, read=counted), other)
    assert names == list(few.pictures)
    assert len(Embeddings.load(tmp_path / "embeddings").masked) == 0


def test_another_encoder_is_refused(folder: Path, tiny_encoder: Encoder) -> None:
    assert Embeddings.load(folder, encoder=tiny_encoder.manifest).encoder == tiny_encoder.manifest
    with pytest.raises(EncoderMismatch, match="weights_digest"):
        Embeddings.load(folder, encoder=replace(tiny_encoder.manifest, weights_digest="0"))


@pytest.mark.parametrize("name", ["pictures.npy", "text_tokens.npy", "masks.npy", "texts.parquet", "manifest.json"])
def test_a_damaged_or_missing_file_is_named(folder: Path, tmp_path: Path, name: str) -> None:
    for file in folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / name).write_bytes((folder / name).read_bytes()[:-100])
    where = "holds no embeddings" if name == "manifest.json" else name
    with pytest.raises(InputInvalid, match=rf"{where}.* run: dvc repro"):
        Embeddings.load(tmp_path)
    (tmp_path / name).unlink()
    with pytest.raises(InputInvalid, match=r"run: dvc repro"):
        Embeddings.load(tmp_path)


def test_tables_and_arrays_must_agree(folder: Path, tmp_path: Path) -> None:
    for file in folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    np.save(tmp_path / "masked.npy", np.load(folder / "masked.npy")[:-1])
    with pytest.raises(InputInvalid, match=r"masked.npy has \d+ rows, its table \d+"):
        Embeddings.load(tmp_path)


@given(st.integers(0, 2**32), st.floats(0.05, 0.5), st.floats(0, 0.4), st.integers(1, MASK_SIZE))
def test_masks_cover_the_wanted_part(seed: int, least: float, more: float, width: int) -> None:
    drawn = np.zeros((MASK_SIZE, MASK_SIZE), bool)
    drawn[:, :width] = True
    mask = draw_mask(drawn, np.random.default_rng(seed), min_fraction=least, max_fraction=least + more)
    covered = mask[drawn].mean()
    # Cells of equal distance go together: a box's outermost ring is at most one row and column on each side.
    ring = 4 * MASK_SIZE / drawn.sum()
    assert least - 1e-9 <= covered <= min(1.0, least + more + ring)


def test_blanking_hits_the_masked_quarter_alone() -> None:
    mask = torch.zeros(1, MASK_SIZE, MASK_SIZE, dtype=torch.bool)
    mask[:, : MASK_SIZE // 2, : MASK_SIZE // 2] = True
    pixels = blank_masked(torch.ones(1, 3, 160, 160), mask)
    assert pixels[:, :, :80, :80].sum() == 0
    assert pixels.sum() == 3 * (160 * 160 - 80 * 80)


def test_a_picture_without_transparency_counts_as_drawn_everywhere() -> None:
    assert find_drawn_cells(Image.new("RGB", (10, 10))).all()
