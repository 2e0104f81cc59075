"""`compodiff bench gpu`, and what it says where no GPU can be used."""

import pytest
import torch

from compodiff.precision import PEAKS, choose_device, choose_precision, find_peak
from compodiff.speed.gpu.timing import measure_product

pytestmark = pytest.mark.gpu


def test_a_gpu_computes_in_bfloat16_by_itself() -> None:
    if choose_device().type == "cuda":
        assert choose_precision("auto", choose_device()) == "bfloat16"


def test_products_do_not_pass_the_peak_of_the_data_sheet() -> None:
    peak = find_peak(choose_device())
    measured = measure_product(choose_device(), torch.bfloat16, repeats=5) * 1e12
    assert 0 < measured < 1.05 * (peak or max(PEAKS.values()) * 1e12)
