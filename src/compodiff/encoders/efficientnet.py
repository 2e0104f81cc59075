"""The default encoder's image trunk in torch alone: the same numbers as timm's, which takes a second to import.

EfficientNet-Lite0 (arXiv 1905.11946, without squeeze-and-excitation and with ReLU6), for inference. The names and the
order of the weights are those of timm's tf_efficientnet_lite0. Shapes: B pictures, C channels, H and W pixels of a map.
"""

from typing import cast

from torch import Tensor, nn
from torch.nn import functional

_STEM, _HEAD = 32, 1280  # channels
# Of each stage of blocks: kernel, stride of its first block, expansion, channels, blocks (the paper's table 1).
_STAGES = (
    (3, 1, 1, 16, 1),
    (3, 2, 6, 24, 2),
    (5, 2, 6, 40, 2),
    (3, 2, 6, 80, 3),
    (5, 1, 6, 112, 3),
    (5, 2, 6, 192, 4),
    (3, 1, 6, 320, 1),
)
_ENDS = (0, 1, 2, 4, 6)  # the last stage of each size of map


class EfficientNetLite0(nn.Module):
    """The trunk without its classifier."""

    num_features = _HEAD

    def __init__(self) -> None:
        super().__init__()
        self.feature_info = [{"num_chs": _STAGES[end][3]} for end in _ENDS]
        self.conv_stem, self.bn1 = _make_convolution(3, _STEM, kernel=3, stride=2), _make_norm(_STEM)
        widths = (_STEM, *(stage[3] for stage in _STAGES))
        self.blocks = nn.Sequential(*map(_make_stage, widths, _STAGES))
        self.conv_head, self.bn2 = _make_convolution(widths[-1], _HEAD, kernel=1), _make_norm(_HEAD)

    def forward_intermediates(self, pixels: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Return the map before the classifier, and the last map of each size: pixels (B, 3, H, W) -> (B, C, h, w)."""
        x, stages = _activate(self.bn1(self.conv_stem(pixels))), []
        for number, stage in enumerate(self.blocks):
            x = stage(x)
            if number in _ENDS:
                stages.append(x)
        return _activate(self.bn2(self.conv_head(x))), stages


class _SeparableBlock(nn.Module):
    """A depthwise convolution and a pointwise one: a block that expands nothing."""

    def __init__(self, width_in: int, width: int, kernel: int, stride: int) -> None:
        super().__init__()
        self.conv_dw = _make_convolution(width_in, width_in, kernel, stride, groups=width_in)
        self.bn1 = _make_norm(width_in)
        self.conv_pw, self.bn2 = _make_convolution(width_in, width, kernel=1), _make_norm(width)

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, C_out, H / stride, W / stride) of x (B, C_in, H, W)."""
        x = _activate(self.bn1(self.conv_dw(x)))
        return cast(Tensor, self.bn2(self.conv_pw(x)))


class _InvertedResidual(nn.Module):
    """A pointwise expansion, a depthwise convolution, and a pointwise projection; added to the input of its shape."""

    def __init__(self, width_in: int, width: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        hidden = width_in * expansion
        self.conv_pw, self.bn1 = _make_convolution(width_in, hidden, kernel=1), _make_norm(hidden)
        self.conv_dw = _make_convolution(hidden, hidden, kernel, stride, groups=hidden)
        self.bn2 = _make_norm(hidden)
        self.conv_pwl, self.bn3 = _make_convolution(hidden, width, kernel=1), _make_norm(width)
        self._is_added = stride == 1 and width_in == width

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, C_out, H / stride, W / stride) of x (B, C_in, H, W)."""
        hidden = _activate(self.bn1(self.conv_pw(x)))
        hidden = _activate(self.bn2(self.conv_dw(hidden)))
        out: Tensor = self.bn3(self.conv_pwl(hidden))
        return out + x if self._is_added else out


class _HalvingConvolution(nn.Conv2d):
    """A convolution of stride 2 that pads as TensorFlow does: as little as it needs, the odd pixel after the map."""

    def forward(self, input: Tensor) -> Tensor:
        """Return (B, C_out, H / 2, W / 2), rounded up, of input (B, C_in, H, W)."""
        height, width = (edge % 2 + self.kernel_size[0] - 2 for edge in input.shape[-2:])
        around = (width // 2, width - width // 2, height // 2, height - height // 2)
        return super().forward(functional.pad(input, around))


def _make_stage(width_in: int, stage: tuple[int, int, int, int, int]) -> nn.Sequential:
    kernel, stride, expansion, width, count = stage
    if expansion == 1:
        return nn.Sequential(_SeparableBlock(width_in, width, kernel, stride))
    first = _InvertedResidual(width_in, width, kernel, stride, expansion)
    return nn.Sequential(first, *(_InvertedResidual(width, width, kernel, 1, expansion) for _ in range(count - 1)))


def _make_convolution(width_in: int, width: int, kernel: int, stride: int = 1, groups: int = 1) -> nn.Conv2d:
    if stride == 2:
        return _HalvingConvolution(width_in, width, kernel, stride, groups=groups, bias=False)
    return nn.Conv2d(width_in, width, kernel, padding=kernel // 2, groups=groups, bias=False)


def _make_norm(width: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(width, eps=1e-3)


def _activate(x: Tensor) -> Tensor:
    return functional.relu6(x, inplace=True)
