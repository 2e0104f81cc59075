"""What the frozen towers of the default encoder make of pictures and texts: the projections train on nothing else.

An encoder that remembers (`Encoder.remember_in`) keeps the outputs: a run that was killed makes only what is missing.
Shapes: N pictures, T texts, F joined map values, D_text width of the text tower.
"""

from collections.abc import Callable, Sequence
from typing import TypeVar, cast

import torch
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from compodiff.encoders.encoder import Encoder
from compodiff.execution.prefetch import map_ahead

Prepared = TypeVar("Prepared")


def compute_picture_maps(
    encoder: Encoder, names: Sequence[str], read: Callable[[str], Image.Image], batch_size: int
) -> Tensor:
    """Return joined maps of the pictures `read` by their `names`, (N, F) float32."""

    def prepare_pixels(batch: Sequence[str]) -> Tensor:
        return torch.stack([encoder.preprocess(read(name)) for name in batch])

    return _run_by_batches("pictures", names, prepare_pixels, encoder.compute_joined_maps, batch_size)


def compute_pooled_states(encoder: Encoder, texts: Sequence[str], batch_size: int) -> Tensor:
    """Return pooled states of the text tower, (T, D_text) float32; texts of like length should be neighbours."""
    return _run_by_batches("texts", texts, list, lambda batch: _pool(encoder, batch), batch_size)


def embed_ahead(
    paint: Callable[[int], list[Image.Image]], count: int, embed: Callable[[list[Image.Image]], Tensor]
) -> Tensor:
    """Embed as many pictures of each number below `count` while the next ones are painted, (count, pictures, D)."""
    numbers = tqdm(range(count), desc="edited pictures", unit=" families", disable=None)
    return torch.stack([embed(pictures).cpu() for pictures in map_ahead(paint, numbers)])


def _pool(encoder: Encoder, texts: Sequence[str]) -> Tensor:
    """Return pooled states of the default encoder's text tower, (B, D_text)."""
    return cast(Tensor, encoder.run_text_tower(0, texts).pooled)


def _run_by_batches(
    kind: str,
    items: Sequence[str],
    prepare: Callable[[Sequence[str]], Prepared],
    run: Callable[[Prepared], Tensor],
    batch_size: int,
) -> Tensor:
    outputs = []
    batches = (items[start : start + batch_size] for start in range(0, len(items), batch_size))
    with tqdm(desc=f"{kind} through the towers", total=len(items), unit=f" {kind}", disable=None) as progress:
        for prepared in map_ahead(prepare, batches):
            outputs.append(run(prepared).cpu())
            progress.update(len(outputs[-1]))
    return torch.cat(outputs)
