"""CLIPSeg's masks for any set: of pairs and of triplets, with and without captions; pictures are referred to."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from factories import draw_patches, encode_picture, make_embedding_params
from PIL import Image
from typer.testing import CliRunner
from worlds.hub import place_in_cache
from worlds.tiny_networks import clipseg

from compodiff.cleaning import masking
from compodiff.cleaning.masking import Masker, mask
from compodiff.cli import app
from compodiff.embeddings import SetEmbeddings, embed_set
from compodiff.errors import InputInvalid, ResourceUnavailable
from compodiff.params import MaskParams
from compodiff.sets import PAIRS, TRIPLETS, Place, finish_set, open_set, open_shard
from compodiff.stable_diffusion.clipseg import ClipSegMasks

THRESHOLD = 0.5
KEPT = bytes([255] * 512)
NOTHING = dict.fromkeys(("reference_caption", "target_caption", "keyword", "mask"))


@pytest.fixture(scope="module")
def params(tmp_path_factory: pytest.TempPathFactory) -> MaskParams:
    folder = clipseg(tmp_path_factory.mktemp("clipseg"))
    return MaskParams(clipseg=str(folder), revision=None, threshold=THRESHOLD, batch_size=3)


@pytest.fixture(autouse=True)
def one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COMPODIFF_WORKERS", "1")


def draw(seed: int) -> Image.Image:
    return draw_patches(seed, 48, 32)


def write_set(folder: Path, kind: str, rows: list[dict[str, Any]], per_shard: int = 2) -> Path:
    """A set whose pictures are named by their seeds; None stands for one that does not decode."""
    for number, first in enumerate(range(0, len(rows), per_shard)):
        with open_shard(folder, "train", number, kind) as shard:
            for key, row in enumerate(rows[first : first + per_shard], start=first):
                ends = {
                    end: shard.store_picture(str(it), b"no picture" if it is None else encode_picture(draw(it)))
                    for end, it in row.items()
                    if end in ("picture", "reference", "target")
                }
                shard.add({"key": f"k{key}", "negatives": [], "relation": "written"} | row | ends)
    finish_set(folder, kind, licence="CC0", source="a test")
    return folder


TRIPLET_ROWS = [
    {"reference_caption": "a red dog", "target_caption": "a red cat", "relative_captions": ["x"]},
    {"relative_captions": ["replace the dog with a cat"]},
    {"relative_captions": ["bluer"]},  # names nothing
    {"relative_captions": ["make the dog blue"], "mask": KEPT},
    {"relative_captions": ["make the dog blue"], "reference": None},
]


@pytest.fixture
def triplets(tmp_path: Path) -> Path:
    rows = [NOTHING | {"reference": 2 * n, "target": 2 * n + 1} | row for n, row in enumerate(TRIPLET_ROWS)]
    return write_set(tmp_path / "triplets", TRIPLETS, rows)


def look_for(params: MaskParams, *asked: tuple[int, str]) -> bytes | None:
    """The bits of what CLIPSeg finds in pictures, of each its phrase."""
    pictures = [draw(seed) for seed, _ in asked]
    cells = np.any([*ClipSegMasks.load(params).find_cells(pictures, [phrase for _, phrase in asked], "squash")], axis=0)
    return np.packbits(cells.reshape(-1)).tobytes() if cells.any() else None


def masks_of(folder: Path) -> list[bytes | None]:
    return [row["mask"] for row in open_set(folder).iterate_rows()]


@pytest.mark.parametrize("aligned", [False, True])
def test_what_goes_is_masked_in_the_reference_and_what_comes_where_pictures_are_aligned(
    triplets, params, tmp_path, aligned
):
    found = mask(Masker(str(triplets), tmp_path / "masked", params, is_aligned=aligned))
    own = [(0, "dog"), (1, "cat")] if aligned else [(0, "dog")]
    expected = [look_for(params, *own), look_for(params, (2, "dog")), None, KEPT, None]
    assert expected[0] is not None
    assert masks_of(tmp_path / "masked") == expected
    assert found == (sum(bits is not None for bits in expected), 5)


def test_pairs_are_masked_by_a_term_of_their_caption_and_embed_takes_it(params, tmp_path, encoder_folder):
    rows = [{"picture": 1, "texts": ["a dog"]}, {"picture": 1, "texts": ["wow"]}, {"picture": 3, "texts": ["a cat"]}]
    dirty = write_set(tmp_path / "pairs", PAIRS, rows)
    assert masks_of(dirty) == [None] * 3
    mask(Masker(str(dirty), tmp_path / "masked", params, is_aligned=False))
    expected = [look_for(params, (1, "dog")), look_for(params, (1, "wow")), look_for(params, (3, "cat"))]
    assert None not in expected
    assert masks_of(tmp_path / "masked") == expected
    embed_set(tmp_path / "out", tmp_path / "masked", encoder_folder, make_embedding_params(masks_per_picture=1))
    arrays = SetEmbeddings.load(tmp_path / "out")
    assert len(arrays.open_array("masks")) == len(arrays.open_array("masked")) == 3


def test_pictures_are_referred_to_and_rows_kept_as_they_are(triplets, params, tmp_path):
    before = {path: path.read_bytes() for path in triplets.iterdir()}
    mask(Masker(str(triplets), tmp_path / "deep" / "masked", params, is_aligned=False))
    made, dirty = open_set(tmp_path / "deep" / "masked"), open_set(triplets)
    assert not list((tmp_path / "deep" / "masked").glob("*.tar"))
    for ours, theirs in zip(made.iterate_rows(), dirty.iterate_rows(), strict=True):
        for end in ("reference", "target"):
            assert made.places.read(Place.of(ours[end])) == dirty.places.read(Place.of(theirs[end]))
        changed = ("reference", "target", "mask")
        assert {k: v for k, v in ours.items() if k not in changed} == {
            k: v for k, v in theirs.items() if k not in changed
        }
    assert {path: path.read_bytes() for path in triplets.iterdir()} == before


def test_a_run_that_was_killed_continues_and_another_threshold_begins_anew(triplets, params, tmp_path, monkeypatch):
    to = tmp_path / "masked"
    own, asked = masking.run, []

    class Killed(Exception):
        pass

    def dying(function, items, what):
        asked.append([task.number for task in items])
        own(function, items[:1], what)
        raise Killed

    monkeypatch.setattr(masking, "run", dying)
    for _ in range(2):
        with pytest.raises(Killed):
            mask(Masker(str(triplets), to, params, is_aligned=False))
    monkeypatch.setattr(masking, "run", own)
    mask(Masker(str(triplets), to, params, is_aligned=False))
    mask(Masker(str(triplets), tmp_path / "whole", params, is_aligned=False))
    assert asked == [[0, 1, 2], [1, 2]]
    files = {path.name: path.read_bytes() for path in to.glob("train-*")}
    assert files == {path.name: path.read_bytes() for path in (tmp_path / "whole").glob("train-*")}
    other = params.model_copy(update={"threshold": 0.9})
    mask(Masker(str(triplets), to, other, is_aligned=False))
    assert masks_of(to)[:2] == [look_for(other, (0, "dog")), look_for(other, (2, "dog"))]
    assert masks_of(to)[0] != masks_of(tmp_path / "whole")[0]


def test_the_command_says_how_many_rows_have_a_mask_and_refuses_what_it_cannot_use(triplets, params, tmp_path):
    def call(*arguments: str) -> Any:
        return CliRunner().invoke(app, ["dataset", "mask", str(triplets), "--clipseg", params.clipseg, *arguments])

    outcome = call("--to", str(tmp_path / "masked"))
    assert outcome.exit_code == 0, outcome.output
    assert "of 5 rows in" in outcome.output
    assert call("--to", str(tmp_path / "x"), "--threshold", "2").exit_code == 2
    with pytest.raises(InputInvalid, match="holds no CLIPSeg"):
        mask(Masker(str(triplets), tmp_path / "x", params.model_copy(update={"clipseg": str(tmp_path)}), False))
    with pytest.raises(InputInvalid, match="holds what is read"):
        mask(Masker(str(triplets), triplets, params, is_aligned=False))


def test_clipseg_is_taken_from_the_hubs_cache_by_its_name_or_the_command_that_fetches_it_is_named(
    triplets, params, tmp_path, monkeypatch
):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "home" / "hub"))
    named = params.model_copy(update={"clipseg": "clipseg"})
    with pytest.raises(ResourceUnavailable, match=r"not on this machine; run: compodiff get clipseg"):
        mask(Masker(str(triplets), tmp_path / "masked", named, is_aligned=False))
    place_in_cache(tmp_path / "home", "CIDAS/clipseg-rd64-refined", Path(params.clipseg))
    mask(Masker(str(triplets), tmp_path / "masked", named, is_aligned=False))
    assert masks_of(tmp_path / "masked")[0] == look_for(params, (0, "dog"))
