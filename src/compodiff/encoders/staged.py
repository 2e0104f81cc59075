"""An image tower that keeps what its trunk saw on the way: every stage's map, pooled on a grid, joined and projected.

The last stage of a classifier says what is shown; colour, skin tone, direction and drawing style are linear in the
earlier ones, and a grid keeps where things are. Shapes: B pictures, F joined map values, D embedding width.
"""

from collections.abc import Mapping
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

# In the order in which they are joined: the input, the trunk's stages by their stride, the layer before its classifier.
MAPS = ("pixels", "stride_2", "stride_4", "stride_8", "stride_16", "stride_32", "head")


class StagedTower(nn.Module):
    """A timm trunk of five stages under one linear projection, as open_clip's `model.visual`."""

    def __init__(self, trunk: Any, grids: Mapping[str, int], embedding_dim: int, class_dimensions: int = 0) -> None:
        """Wrap `trunk`.

        Args:
            trunk: of timm.
            grids: on how many cells a side a map of MAPS is pooled; maps left out are unused.
            embedding_dim: D.
            class_dimensions: the last ones of D, which see the map "head" alone (encoders/named_classes.py).
        """
        super().__init__()
        self.trunk = trunk
        self._grids = {name: grids[name] for name in MAPS if name in grids}
        channels = (3, *(stage["num_chs"] for stage in trunk.feature_info), trunk.num_features)
        self.widths = {
            name: width * self._grids[name] ** 2
            for name, width in zip(MAPS, channels, strict=True)
            if name in self._grids
        }
        self.proj = nn.Linear(sum(self.widths.values()), embedding_dim - class_dimensions)
        self.classes = nn.Linear(trunk.num_features, class_dimensions) if class_dimensions else None

    def compute_joined_maps(self, pixels: Tensor) -> Tensor:
        """Return what the projection sees, pixels (B, 3, H, W) -> (B, F): the maps of `widths`, in that order."""
        last, stages = self.trunk.forward_intermediates(pixels)
        maps = dict(zip(MAPS, (pixels, *stages, last), strict=True))
        pooled = [functional.adaptive_avg_pool2d(maps[name], grid).flatten(1) for name, grid in self._grids.items()]
        return torch.cat(pooled, dim=1)

    def forward(self, pixels: Tensor) -> Tensor:
        """Embed, pixels (B, 3, H, W) -> (B, D)."""
        return self.project(self.compute_joined_maps(pixels))

    def project(self, maps: Tensor) -> Tensor:
        """Project joined maps, (B, F) -> (B, D); "head" is the last of them."""
        learned = cast(Tensor, self.proj(maps))
        if self.classes is None:
            return learned
        return torch.cat([learned, self.classes(maps[:, -self.classes.in_features :])], dim=1)
