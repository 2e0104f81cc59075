import pytest
import torch

from compodiff.encoders import Encoder
from compodiff.errors import ResourceUnavailable
from compodiff.execution.gpu_memory import MemoryBound


class Gpu:
    """Squares numbers, at most `room` at a time."""

    def __init__(self, room: int) -> None:
        self.room = room
        self.sizes: list[int] = []

    def __call__(self, numbers: list[int]) -> list[int]:
        self.sizes.append(len(numbers))
        if len(numbers) > self.room:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return [number * number for number in numbers]


def squares(bound: MemoryBound, gpu: Gpu, numbers: list[int]) -> list[int]:
    return [square for part in bound.run_by_parts(gpu, numbers) for square in part]


@pytest.mark.parametrize("room", [1, 2, 3, 9, 20])
def test_every_item_is_done_once_and_in_order(room: int) -> None:
    numbers = list(range(11))
    assert squares(MemoryBound("numbers", "count less"), Gpu(room), numbers) == [number * number for number in numbers]


def test_what_did_not_fit_is_not_tried_again_and_said_once(caplog: pytest.LogCaptureFixture) -> None:
    bound, gpu = MemoryBound("numbers", "count less"), Gpu(3)
    for _ in range(3):
        squares(bound, gpu, list(range(8)))
    assert gpu.sizes == [8, 4] + [2] * 12
    assert caplog.messages == ["the GPU's memory ends at 8 numbers: 2 at a time from now on"]


def test_nothing_is_still_asked_for_once() -> None:
    gpu = Gpu(3)
    assert squares(MemoryBound("numbers", "count less"), gpu, []) == []
    assert gpu.sizes == [0]


def test_one_that_does_not_fit_is_an_error_with_the_way_out() -> None:
    with pytest.raises(ResourceUnavailable, match="does not hold even one of the numbers; count less"):
        squares(MemoryBound("numbers", "count less"), Gpu(0), [1, 2])


def test_an_encoder_embeds_as_many_pictures_as_fit(tiny_encoder: Encoder) -> None:
    size = tiny_encoder.manifest.picture.image_size
    pixels = torch.rand(7, 3, size, size, generator=torch.Generator().manual_seed(5))
    whole = tiny_encoder.encode_pixels(pixels)
    bounded = Encoder(tiny_encoder.picture, tiny_encoder.texts, tiny_encoder.manifest)
    sizes = []

    def room(_network: torch.nn.Module, arguments: tuple[torch.Tensor]) -> None:
        sizes.append(len(arguments[0]))
        if sizes[-1] > 3:
            raise torch.OutOfMemoryError("CUDA out of memory")

    hook = tiny_encoder.picture.model.visual.register_forward_pre_hook(room)  # type: ignore[operator, union-attr]
    try:
        torch.testing.assert_close(bounded.encode_pixels(pixels), whole, atol=1e-5, rtol=1e-4)
    finally:
        hook.remove()
    assert sizes == [7, 3, 3, 1]
