"""What one microbatch is made of, and how it gets to a GPU.

Legend: B rows of a microbatch, N noisy embeddings a row, D embedding width.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from compodiff.model.network.context import ContextRows, PackedText


@dataclass(frozen=True)
class Batch:
    """Rows of all tasks.

    Attributes:
        texts: the distinct texts of the rows, tokens in float16 as they are stored.
        images: (R, D) embeddings of the references; null references are left out.
        masks: (M, 64, 64) True where the picture is to be replaced; rows without a mask are left out.
        rows: which text, image and mask each of the B rows has.
        target: (B, D) x0, as the encoder makes it.
        others: (O, D) wrong answers to learn from: pictures of the training split, the same for every process, and
            those of the batch's other rows.
        noise: (B, N, D) standard normal.
        timestep: (B, N) how noisy each is.
    """

    texts: PackedText
    images: Tensor
    masks: Tensor
    rows: ContextRows
    target: Tensor
    others: Tensor
    noise: Tensor
    timestep: Tensor

    def to(self, device: torch.device) -> "Batch":
        """Copy the batch to `device`; out of pinned memory, nothing waits for the copies."""
        return self._map(lambda tensor: tensor.to(device, non_blocking=True))

    def pin_memory(self) -> "Batch":
        """Copy the batch into pages that a GPU copies by itself."""
        return self._map(Tensor.pin_memory)

    def keep_for(self, stream: torch.cuda.Stream) -> None:
        """Keep the memory of a batch that another stream copied until `stream` is done with it."""

        def keep(tensor: Tensor) -> Tensor:
            tensor.record_stream(stream)
            return tensor

        self._map(keep)

    def _map(self, change: Callable[[Tensor], Tensor]) -> "Batch":
        """Change all tensors of the batch but those that say what belongs together: the CPU reads these."""
        return Batch(
            texts=self.texts.convert(change),
            images=change(self.images),
            masks=change(self.masks),
            rows=self.rows,
            target=change(self.target),
            others=change(self.others),
            noise=change(self.noise),
            timestep=change(self.timestep),
        )
