"""Names of places by their coordinates, without a network. The only module that knows reverse_geocode, an extra.

The names are GeoNames' (CC BY 4.0), of towns of a thousand people or more.
"""

from collections.abc import Sequence
from importlib.util import find_spec

import numpy as np

Coordinates = tuple[float, float]  # degrees north and east

_FARTHEST = 50.0  # kilometres to the town that a place is named after
_KILOMETRES = 111.2  # of one degree


def name_places(coordinates: Sequence[Coordinates]) -> list[str | None]:
    """Return town, state and country of each place; None far from any, or without the optional package."""
    if not coordinates or find_spec("reverse_geocode") is None:
        return [None] * len(coordinates)
    import reverse_geocode

    return [
        _name_town(found) if _measure(here, (found["latitude"], found["longitude"])) <= _FARTHEST else None
        for here, found in zip(coordinates, reverse_geocode.search(list(coordinates)), strict=True)
    ]


def _name_town(found: dict[str, str]) -> str:
    names = [found.get(part, "") for part in ("city", "state", "country")]
    return ", ".join(dict.fromkeys(name for name in names if name))


def _measure(one: Coordinates, other: Coordinates) -> float:
    """Return the kilometres between two places that are near each other."""
    east = (one[1] - other[1] + 180) % 360 - 180
    return float(np.hypot(one[0] - other[0], east * np.cos(np.radians(one[0]))) * _KILOMETRES)
