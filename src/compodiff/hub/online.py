"""The switch of the network: nothing in this project fetches anything but inside `allow_network`.

The package sets HF_HUB_OFFLINE where it is imported (`compodiff/__init__.py`). huggingface_hub, and with it
transformers, diffusers and open_clip, reads that once, and asks its own constant before each request.
"""

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def allow_network() -> Iterator[None]:
    """Let the hub's library use the network inside the block.

    What it would log is told by the errors it raises, and its bars are shown where somebody looks on.
    """
    from huggingface_hub import constants
    from huggingface_hub.utils import logging as library_log
    from huggingface_hub.utils.tqdm import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars

    offline, level, has_bars = constants.HF_HUB_OFFLINE, library_log.get_verbosity(), not are_progress_bars_disabled()
    constants.HF_HUB_OFFLINE = False
    library_log.set_verbosity(logging.ERROR)
    if has_bars and not sys.stderr.isatty():
        disable_progress_bars()
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = offline
        library_log.set_verbosity(level)
        if has_bars:
            enable_progress_bars()
