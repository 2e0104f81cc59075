"""The tensors of the default encoder that are files of installed packages: its frozen towers."""

from typing import Any

import safetensors.torch
from torch import Tensor

from compodiff.encoders.embedded import HEAD_ALONE, build_picture_model, find_text_folder, load_image_trunk

_TEXT, _TRUNK = "text.transformer.", "visual.trunk."


def read_packaged_tensors() -> dict[str, Tensor]:
    """Return the towers' tensors under the names that they have in an encoder's file."""
    model: Any = build_picture_model(embedding_dim=1, grids=HEAD_ALONE)
    trunk = model.visual.trunk
    load_image_trunk(trunk)
    text = safetensors.torch.load_file(find_text_folder() / "model.safetensors")
    towers = {f"{_TEXT}{name}": tensor for name, tensor in text.items()}
    return towers | {f"{_TRUNK}{name}": tensor for name, tensor in trunk.state_dict().items()}
