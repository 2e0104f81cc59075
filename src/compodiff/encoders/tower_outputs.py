"""What the frozen towers of the default encoder make of pictures and texts: the projections train on nothing else.

The towers run once. Their outputs are written chunk by chunk, so that a run that was killed makes only the chunks that
are missing. Shapes: N pictures, T texts, F joined map values, D_text width of the text tower.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from compodiff.atomic import atomic_path
from compodiff.encoders.encoder import Encoder, transformer_states

BATCHES_PER_CHUNK = 16


def picture_maps(
    work: Path, encoder: Encoder, names: Sequence[str], read: Callable[[str], Image.Image], batch_size: int
) -> Tensor:
    """Joined maps of the pictures `read` by their `names`, (N, F) float32; chunks of them are kept in `work`."""
    visual: Any = encoder.model.visual

    @torch.inference_mode()
    def maps(batch: Sequence[str]) -> Tensor:
        pixels = torch.stack([encoder.preprocess(read(name)) for name in batch])
        joined: Tensor = visual.joined_maps(encoder.placed(pixels))
        return joined

    return _chunked(work, "pictures", names, maps, batch_size)


def pooled_states(work: Path, encoder: Encoder, texts: Sequence[str], batch_size: int) -> Tensor:
    """Pooled states of the text tower, (T, D_text) float32; texts of like length should be neighbours."""

    @torch.inference_mode()
    def states(batch: Sequence[str]) -> Tensor:
        return transformer_states(encoder.model.text, encoder.tokenize(list(batch)).to(encoder.device))[0]

    return _chunked(work, "texts", texts, states, batch_size)


def _chunked(
    work: Path, kind: str, items: Sequence[str], run: Callable[[Sequence[str]], Tensor], batch_size: int
) -> Tensor:
    size = batch_size * BATCHES_PER_CHUNK
    chunks = []
    with tqdm(desc=f"{kind} through the towers", total=len(items), unit=f" {kind}", disable=None) as progress:
        for start in range(0, len(items), size):
            chunk = items[start : start + size]
            path = work / f"{kind}-{start:09d}.npy"
            if not path.exists():
                batches = (chunk[first : first + batch_size] for first in range(0, len(chunk), batch_size))
                # Half precision halves the disk; its rounding is below what pooling and standardising leave visible.
                outputs = torch.cat([run(batch).half().cpu() for batch in batches])
                with atomic_path(path) as temporary, temporary.open("wb") as file:
                    np.save(file, outputs.numpy(), allow_pickle=False)
            chunks.append(torch.from_numpy(np.load(path, allow_pickle=False)).float())
            progress.update(len(chunk))
    return torch.cat(chunks)
