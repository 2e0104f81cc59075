"""Two edits of whole pictures: one that turns every number of an embedding to its opposite, one that halves it."""

from collections.abc import Sequence
from copy import copy

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from compodiff.encoders import Encoder
from compodiff.encoders.edit_maps import OTHER, EditMaps

MIRROR, DARKER = range(2)


def make_edit_maps(
    wordings: Tensor, dim: int, shared: Sequence[bool] = (False, False, False), least: float = 0.7
) -> EditMaps:
    """Return maps of both edits; `wordings` (3, L), of length one, ask for the first, the second, and neither."""
    down = torch.stack([-2 * torch.eye(dim), -0.5 * torch.eye(dim)])
    return EditMaps(
        down=down.half(),
        up=torch.eye(dim).expand(2, dim, dim).half().contiguous(),
        shift=torch.zeros(2, dim).half(),
        wordings=wordings,
        edits=torch.tensor([MIRROR, DARKER, OTHER], dtype=torch.int16),
        shared=torch.tensor(shared),
        least=torch.tensor([least]),
    )


@pytest.fixture(scope="session")
def encoder_with_edits(tiny_encoder: Encoder) -> Encoder:
    """The tiny encoder that knows both edits as "mirrored" and "darker", and "brighter" as something else."""
    knowing = copy(tiny_encoder)
    wordings = tiny_encoder.embed_texts(["mirrored", "darker", "brighter"], "a test")
    dim = tiny_encoder.manifest.embedding_dim
    knowing.edits = make_edit_maps(functional.normalize(wordings, dim=1), dim, least=0.95)
    return knowing
