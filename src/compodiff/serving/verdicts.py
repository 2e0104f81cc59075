"""What came of a shadow or a canary, for the decision log of the registry that its model is of."""

import logging
from collections.abc import Callable, Mapping

from compodiff.errors import CompoDiffError

_VERSION = "compodiff version "  # before the number, as a server names a version of the registry
_log = logging.getLogger("compodiff.serving")

# Is given a version in words, why, and figures.
Record = Callable[[str, str, Mapping[str, float]], None]


def record_nowhere(version: str, reason: str, figures: Mapping[str, float]) -> None:
    """Record nothing."""


def choose_record(model: str, verdict: str) -> Record:
    """Return what records a verdict on `model`, as somebody named it, in the decision log; the champion stays champion.

    A model that is no version of a registry has no place there. A registry that is away is said in the log.
    """
    from compodiff.search.locate import choose_model

    chosen = choose_model(model)
    if not chosen.name.startswith("models:"):
        return record_nowhere
    project = chosen.find_project()

    def record(version: str, reason: str, figures: Mapping[str, float]) -> None:
        from compodiff.tracking.promotion import note_trial

        number = version.removeprefix(_VERSION)
        try:
            note_trial(project, number, verdict, reason, figures)
        except (CompoDiffError, OSError) as error:
            _log.warning("%s is %s (%s), which the decision log does not have: %s", version, verdict, reason, error)

    return record
