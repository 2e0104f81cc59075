import hashlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest
import torch
from factories import change_parts, make_embedding_params
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from compodiff.catalogue.captions import list_picture_captions
from compodiff.catalogue.pictures import Catalogue
from compodiff.embeddings import (
    MASK_SIZE,
    EmbeddingMaterial,
    Embeddings,
    blank_masked,
    draw_mask,
    find_drawn_cells,
    make_embeddings,
)
from compodiff.embeddings.scattered import expect_scattered, read_scattered
from compodiff.encoders import Encoder
from compodiff.errors import EncoderMismatch, InputInvalid

PARAMS = make_embedding_params(batch_size=8)


@pytest.fixture(scope="module")
def material(small_catalogue: Catalogue) -> EmbeddingMaterial:
    captions = [text for row in small_catalogue.pictures.to_dict("records") for text in list_picture_captions(row)]
    texts = [*captions, "but with dark skin tone", "a much longer wish: make it a blue circle"]
    return EmbeddingMaterial(list(small_catalogue.pictures.index), small_catalogue.read, "small", texts)


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
    ((tokens, lengths),) = embeddings.read_tokens(rows)
    encoding = tiny_encoder.encode_texts(texts)
    (states,) = encoding.states
    assert lengths.tolist() == states.mask.sum(dim=1).tolist()
    assert tokens.dtype == np.float16
    # float16 keeps 11 bits: at values up to 4 that is 2e-3.
    np.testing.assert_allclose(tokens, states.tokens[states.mask].numpy(), atol=4e-3)
    np.testing.assert_allclose(embeddings.texts_pooled[rows], encoding.pooled.numpy(), atol=1e-5)


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


def test_a_damaged_chunk_is_named_with_a_way_out(
    material: EmbeddingMaterial, tiny_encoder: Encoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = replace(material, pictures=material.pictures[:2], texts=["red"])
    with monkeypatch.context() as patched:
        patched.setattr("compodiff.embeddings.making._write_table", Mock(side_effect=KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            make_embeddings(tmp_path / "embeddings", tiny_encoder, few, PARAMS)
    (chunk,) = tmp_path.glob(".embeddings.work/pictures-*.npz")
    chunk.write_bytes(chunk.read_bytes()[:-30])
    with pytest.raises(InputInvalid, match=r"pictures-0+\.npz is missing or damaged .*; remove it and run again"):
        make_embeddings(tmp_path / "embeddings", tiny_encoder, few, PARAMS)
    chunk.unlink()
    make_embeddings(tmp_path / "embeddings", tiny_encoder, few, PARAMS)


def test_chunks_of_other_params_are_not_used(
    material: EmbeddingMaterial, tiny_encoder: Encoder, tmp_path: Path
) -> None:
    few = replace(material, pictures=material.pictures[:70], texts=["red"])
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


def test_another_encoder_is_refused(folder: Path, tiny_encoder: Encoder) -> None:
    assert Embeddings.load(folder, encoder=tiny_encoder.manifest).encoder == tiny_encoder.manifest
    with pytest.raises(EncoderMismatch, match="weights_digest"):
        Embeddings.load(folder, encoder=change_parts(tiny_encoder.manifest, weights_digest="0"))


@pytest.mark.parametrize("name", ["pictures.npy", "text_tokens.npy", "texts.parquet", "manifest.json"])
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
    np.save(tmp_path / "pictures.npy", np.load(folder / "pictures.npy")[:-1])
    with pytest.raises(InputInvalid, match=r"pictures.npy has \d+ rows, its table \d+"):
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


@pytest.mark.parametrize("count", [0, 1, 63, 64, 65, 1024, 1500])
def test_rows_from_all_over_an_array_are_those_that_were_asked_for(tmp_path, count):
    rng = np.random.default_rng(count)
    np.save(tmp_path / "images.npy", rng.standard_normal((2000, 7)).astype(np.float16))
    mapped = np.load(tmp_path / "images.npy", mmap_mode="r")
    expect_scattered(mapped)
    rows = rng.integers(len(mapped), size=count)
    read = read_scattered(mapped, rows)
    assert read.dtype == np.float32
    assert np.array_equal(read, np.load(tmp_path / "images.npy")[rows].astype(np.float32))


def test_a_row_beyond_an_array_is_an_error_and_not_a_hole():
    with pytest.raises(IndexError):
        read_scattered(np.zeros((200, 3), np.float16), np.array([0] * 199 + [200]))
