"""Without a driver of a GPU these modules are not even imported: that alone takes a quarter of a minute."""

import ctypes
import os
from pathlib import Path

import pytest


class WithoutGpu(pytest.Module):
    """A module that is left out."""

    def collect(self) -> list[pytest.Item]:
        """Say why."""
        pytest.skip("needs a GPU", allow_module_level=True)


def pytest_pycollect_makemodule(module_path: Path, parent: pytest.Collector) -> pytest.Module | None:
    """Leave a module out where nothing can drive a GPU; None: collect it as any other."""
    if os.environ.get("COMPODIFF_GPU_TESTS") == "cpu":
        return None
    try:
        ctypes.CDLL("libcuda.so.1")  # on every system that has NVIDIA's driver, of which /dev says less
    except OSError:
        return WithoutGpu.from_parent(parent, path=module_path)
    return None
