"""A search with weights as they are published: its rankings are those of the recorded outputs.

The recorded checkpoint is written as pytorch_model.bin, converted, and asked through `Searcher`. The text states are
the recorded ones, since no encoder that would make them is recorded; the noise is drawn as the released code draws it.
"""

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from factories import make_encoder_manifest, make_index_params
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor, nn
from worlds.released import save_as_published

from compodiff.encoders import Encoder
from compodiff.encoders.towers import TowerOutputs
from compodiff.index import index
from compodiff.model.checkpoint import load_model
from compodiff.model.inference import prepare_for_inference
from compodiff.released.conversion import import_released
from compodiff.released.model_folder import DIALS
from compodiff.search.composer import Composer
from compodiff.search.progress import PhaseTimer
from compodiff.search.query import Query
from compodiff.search.searcher import Searcher

FOLDER = Path(os.environ.get("COMPODIFF_PARITY_DIR", Path(__file__).parents[3] / "shared" / "parity"))
WEIGHTS, RECORDED = FOLDER / "tiny_reference.safetensors", FOLDER / "tiny_reference_io.npz"
TOLERANCE = 1e-4  # of the mean |output|, as in test_released_network.py; measured here: 3e-6
GALLERY = 500

pytestmark = pytest.mark.skipif(
    not (WEIGHTS.is_file() and RECORDED.is_file()), reason=f"no recorded outputs in {FOLDER}"
)


class _NoPictures:
    """A picture part that is asked for nothing: the recorded references are embeddings."""

    module: nn.Module = nn.Linear(1, 1)
    memo_key = ""

    def preprocess(self, picture: Image.Image) -> Tensor:
        raise AssertionError

    def embed(self, pixels: Tensor) -> Tensor:
        raise AssertionError


class _RecordedTexts:
    """A text part that knows the recorded states; all of a text's tokens are attended."""

    module: nn.Module = nn.Linear(1, 1)
    memo_key, pooled_width = "", 0

    def __init__(self, states: dict[str, Tensor]) -> None:
        self._states = states

    def run(self, texts: Sequence[str]) -> TowerOutputs:
        tokens = torch.stack([self._states[text] for text in texts])
        return TowerOutputs(None, tokens, torch.ones(tokens.shape[:2], dtype=torch.bool))

    def project(self, pooled: Tensor) -> Tensor:
        raise AssertionError


class _ReleasedNoise:
    """Draws for all queries at once from one generator, and hands each query its rows."""

    def __init__(self, seed: int, queries: int) -> None:
        self._draw, self._queries = torch.randn, queries
        self._generator, self._left = torch.Generator().manual_seed(seed), list[Tensor]()

    def __call__(self, shape: tuple[int, int], generator: torch.Generator) -> Tensor:
        if not self._left:
            whole = self._draw(self._queries * shape[0], 1, shape[1], generator=self._generator)
            self._left = list(whole.view(self._queries, *shape))
        return self._left.pop(0)


@pytest.fixture(scope="module")
def recorded() -> dict[str, Tensor]:
    with np.load(RECORDED) as arrays:
        return {name: torch.from_numpy(arrays[name]) for name in arrays.files}


@pytest.fixture(scope="module")
def searcher(recorded: dict[str, Tensor], tmp_path_factory: pytest.TempPathFactory) -> Searcher:
    root = tmp_path_factory.mktemp("released")
    save_as_published(load_file(WEIGHTS), root / "hub")
    import_released(root / "hub", root / "composed")
    denoiser, card = load_model(root / "composed")
    texts = {
        f"{kind} {number}": states for kind in ("text", "negative") for number, states in enumerate(recorded[kind])
    }
    width = recorded["x"].shape[2]
    whole = make_encoder_manifest(embedding_dim=width, token_dim=1280)
    manifest = replace(whole, joint=None)
    encoder = Encoder(_NoPictures(), [_RecordedTexts(texts)], manifest)
    ids = [f"picture {number}" for number in range(GALLERY)]
    gallery = np.random.default_rng(17).normal(size=(GALLERY, width)).astype(np.float32)
    index.build(
        root / "index",
        embeddings=gallery,
        pictures=pd.DataFrame({"picture_id": ids, "name": ids, "path": "x", "offset": 0, "length": 0, "sha256": ids}),
        encoder=manifest,
        params=make_index_params(),
        pictures_root="..",
    )
    composer = Composer(encoder, prepare_for_inference(denoiser, "float32"), card, DIALS)
    return Searcher(composer, index.Index.load(root / "index"))


@pytest.mark.parametrize("name", ["sample10", "sample5"])
def test_rankings_are_those_of_the_recorded_outputs(
    searcher: Searcher, recorded: dict[str, Tensor], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    w_image, w_text = recorded[f"{name}_guidance"].tolist()
    dials = {"w_image": w_image, "w_text": w_text, "draws": int(recorded[f"{name}_num_samples"])}
    dials |= {"num_inference_steps": int(recorded[f"{name}_timesteps"]) - 1}
    theirs, queries = recorded[name].numpy(), len(recorded["x"])
    prepared = [
        searcher.prepare(
            Query(
                recorded["image_cond"][number, 0].numpy(),
                f"text {number}",
                f"negative {number}",
                recorded["mask"][number].numpy().astype(bool),
                reference_mixing=0.0,
                k=GALLERY,
                **dials,
            )
        )
        for number in range(queries)
    ]
    with monkeypatch.context() as patched:
        patched.setattr(torch, "randn", _ReleasedNoise(int(recorded[f"{name}_seed"]), queries))
        rankings = searcher.answer_all(prepared, PhaseTimer())
    ours = np.stack([ranking.embedding for ranking in rankings])
    assert np.abs(ours - theirs).max() / np.abs(theirs).mean() <= TOLERANCE
    gallery = np.asarray(searcher.index.embeddings)
    cosines = theirs @ gallery.T / (np.linalg.norm(theirs, axis=1)[:, None] * np.linalg.norm(gallery, axis=1))
    for ranking, scores in zip(rankings, cosines, strict=True):
        assert [hit.picture_id for hit in ranking] == [f"picture {row}" for row in np.argsort(-scores)]
        np.testing.assert_allclose([hit.score for hit in ranking], np.sort(scores)[::-1], atol=1e-5)


def test_the_recorded_masks_are_cells(recorded: dict[str, Tensor]) -> None:
    assert set(recorded["mask"].unique().tolist()) <= {0.0, 1.0}
