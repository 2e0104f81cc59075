"""A tiny CLIP that open_clip knows."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from compodiff.encoders import Encoder


def make_open_clip_encoder(folder: Path) -> "Encoder":
    """A CLIP of the real class with random weights, one layer a tower; open_clip knows it as `compodiff-tiny`."""
    import open_clip
    import torch

    from compodiff.encoders import open_clip_encoder

    towers = {
        "embed_dim": 16,
        "vision_cfg": {"image_size": 32, "layers": 1, "width": 64, "patch_size": 16},
        "text_cfg": {"context_length": 24, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 1},
    }
    config = folder / "compodiff-tiny.json"
    config.write_text(json.dumps(towers))
    open_clip.add_model_config(config)
    torch.set_num_threads(1)
    with torch.random.fork_rng():
        torch.manual_seed(17)
        return open_clip_encoder("compodiff-tiny", pretrained=None)
