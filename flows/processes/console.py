"""The output of a flow where nobody reads it any more: its worker was killed, the flow goes on."""

import logging
from functools import partial

from prefect.logging.handlers import PrefectConsoleHandler


def ignore_broken_pipes() -> None:
    """Let Prefect's log handlers fall silent at a broken pipe; rich would end the flow by SystemExit."""
    known = logging.root.manager.loggerDict.values()
    for logger in (logging.root, *(each for each in known if isinstance(each, logging.Logger))):
        for handler in logger.handlers:
            if isinstance(handler, PrefectConsoleHandler):
                console = handler.console
                console.on_broken_pipe = partial(setattr, console, "quiet", True)  # type: ignore[method-assign]
