"""The switch of the network: nothing in this project fetches anything but inside `allow_network`.

huggingface_hub, and with it transformers, diffusers and open_clip, asks its own constant before each request.
"""

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

SWITCH = "HF_HUB_OFFLINE"
_TELEMETRY = "HF_HUB_DISABLE_TELEMETRY"  # nothing here calls home


def forbid_network() -> None:
    """Keep the hub's library, in this process and in those that it starts, from the network."""
    loaded = sys.modules.get("huggingface_hub.constants")
    for name in (SWITCH, _TELEMETRY):
        os.environ[name] = "1"
        if loaded is not None:
            loaded.__dict__[name] = True


@contextmanager
def allow_network() -> Iterator[None]:
    """Let the hub's library use the network inside the block; what it would log is told by the errors it raises."""
    from huggingface_hub import constants
    from huggingface_hub.utils import logging as library_log

    before, level = constants.HF_HUB_OFFLINE, library_log.get_verbosity()
    constants.HF_HUB_OFFLINE = False
    library_log.set_verbosity(logging.ERROR)
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before
        library_log.set_verbosity(level)
