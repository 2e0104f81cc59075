"""What is installed, held to constraints.txt: what is missing, and what is of another version."""

import re
from collections.abc import Mapping
from importlib.metadata import Distribution, distributions
from pathlib import Path

EXTRAS = ("cpu", "photos", "postgres", "s3", "test")  # what `make` installs


def read_pins(project: Path) -> dict[str, str]:
    """Return name -> version as constraints.txt has them for this Python."""
    from packaging.requirements import Requirement

    lines = (project / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = [Requirement(line) for line in lines if line and not line.startswith("#")]
    return {_normalise_name(it.name): str(it.specifier)[2:] for it in pins if it.marker is None or it.marker.evaluate()}


def find_faults(project: Path) -> list[str]:
    """Return a line for each package that is missing or of another version than pinned.

    Missing is what an installed package needs on this system: torch for a CPU needs no CUDA, whatever is pinned.
    """
    pins, installed = read_pins(project), _list_installed()
    missing = find_needed("compodiff", EXTRAS, installed) - installed.keys()
    found = [f"{name} is not installed (pinned: {pins.get(name, 'nowhere')})" for name in sorted(missing)]
    for name, pin in pins.items():
        version = installed[name].version if name in installed else pin
        if version.partition("+")[0] != pin:  # torch's build stands behind a +
            found.append(f"{name} is {version} (pinned: {pin})")
    return found


def find_missing() -> list[str]:
    """Return a line for each package that compodiff needs, whatever the extras, and that is not installed."""
    installed = _list_installed()
    return [f"{name} is not installed" for name in sorted(find_needed("compodiff", (), installed) - installed.keys())]


def find_needed(root: str, extras: tuple[str, ...], installed: Mapping[str, Distribution]) -> set[str]:
    """Return `root`, what it needs here with these extras, all that those need, and so on; installed or not."""
    from packaging.requirements import Requirement

    seen: set[tuple[str, str]] = set()
    waiting = [(root, extra) for extra in ("", *extras)]
    while waiting:
        name, extra = each = waiting.pop()
        if each in seen:
            continue
        seen.add(each)
        for needed in map(Requirement, (installed[name].requires if name in installed else None) or ()):
            if needed.marker is None or needed.marker.evaluate({"extra": extra}):
                waiting += [(_normalise_name(needed.name), wanted) for wanted in ("", *needed.extras)]
    return {name for name, _ in seen}


def _list_installed() -> dict[str, Distribution]:
    return {_normalise_name(each.name): each for each in distributions()}


def _normalise_name(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
