"""Whoever imports the package is offline from then on; `get` and `push` alone are not, and only while they work."""

import os
import subprocess
import sys

import pytest
from huggingface_hub import constants

from compodiff.hub.online import allow_network


def test_a_process_is_offline_from_its_first_import_of_the_package() -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    script = "import compodiff, huggingface_hub.constants as it; print(it.HF_HUB_OFFLINE, it.HF_HUB_DISABLE_TELEMETRY)"
    command = [sys.executable, "-c", script]
    assert subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout == "True True\n"


def test_the_network_is_allowed_inside_alone_whatever_happens_there() -> None:
    def fail() -> None:
        with allow_network():
            assert not constants.HF_HUB_OFFLINE
            raise KeyError

    assert constants.HF_HUB_OFFLINE
    with pytest.raises(KeyError):
        fail()
    assert constants.HF_HUB_OFFLINE
