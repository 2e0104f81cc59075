from typing import Any

import pytest
import timm
import torch

from compodiff.encoders.efficientnet import EfficientNetLite0
from compodiff.encoders.embedded import load_image_trunk
from compodiff.encoders.staged import MAPS, StagedTower

Trunks = tuple[EfficientNetLite0, Any]  # ours, timm's
# The trunk halves a map five times; odd edges are padded otherwise than even ones.
SIZES = [(160, 160), (64, 64), (97, 63), (33, 50), (1, 2)]


@pytest.fixture(scope="module", params=["random", "packaged"])
def trunks(request: pytest.FixtureRequest) -> Trunks:
    ours, theirs = EfficientNetLite0().eval(), timm.create_model("tf_efficientnet_lite0").eval()
    theirs.reset_classifier(0, global_pool="avg")
    if request.param == "packaged":
        load_image_trunk(ours)
        load_image_trunk(theirs)
        return ours, theirs
    generator = torch.Generator().manual_seed(3)
    for name, tensor in theirs.state_dict().items():
        if name.endswith("running_var"):
            tensor.uniform_(0.5, 2, generator=generator)
        elif tensor.dim() == 1:  # of a norm
            tensor.normal_(generator=generator)
    ours.load_state_dict(theirs.state_dict())
    return ours, theirs


def test_the_weights_have_timm_s_names_order_and_shapes(trunks: Trunks) -> None:
    ours, theirs = ([(name, each.shape) for name, each in trunk.state_dict().items()] for trunk in trunks)
    assert ours == theirs


@pytest.mark.parametrize("size", SIZES)
@torch.inference_mode()
def test_all_maps_are_timm_s_bit_for_bit(trunks: Trunks, size: tuple[int, int]) -> None:
    pixels = torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(4))
    (ours, our_stages), (theirs, their_stages) = (trunk.forward_intermediates(pixels) for trunk in trunks)
    assert len(our_stages) == len(their_stages) == len(MAPS) - 2
    for one, other in zip([*our_stages, ours], [*their_stages, theirs], strict=True):
        assert one.std() > 0
        assert torch.equal(one, other)
    assert torch.equal(ours, trunks[1].forward_features(pixels))


@torch.inference_mode()
def test_a_staged_tower_of_either_joins_the_same_bits(trunks: Trunks) -> None:
    pixels = torch.randn(3, 3, 64, 64, generator=torch.Generator().manual_seed(5))
    ours, theirs = (StagedTower(trunk, dict.fromkeys(MAPS, 2), embedding_dim=4) for trunk in trunks)
    assert ours.widths == theirs.widths
    assert torch.equal(ours.compute_joined_maps(pixels), theirs.compute_joined_maps(pixels))
    pooled = StagedTower(trunks[0], {"head": 1}, embedding_dim=4).compute_joined_maps(pixels)
    assert torch.equal(pooled, trunks[1](pixels))
