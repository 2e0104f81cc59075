"""The switch of the network: nothing in this project fetches anything but inside `allow_network`.

The package sets HF_HUB_OFFLINE where it is imported (`compodiff/__init__.py`). huggingface_hub, and with it
transformers, diffusers and open_clip, reads that once, and asks its own constant before each request.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager


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
