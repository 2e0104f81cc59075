"""Where what is served is now: model, index and pictures; asked again and again, as an alias may move."""

from pathlib import Path

from compodiff.project import ATTRIBUTION
from compodiff.search.locate import ChosenModel
from compodiff.search.located import LocatedSearch, find_demo_gallery, locate_search
from compodiff.serving.champion import ServedPaths


def find_places(model: str | None, index: Path | None) -> ServedPaths:
    """Return where model and index are, of one version, though the alias may move meanwhile.

    Raises:
        InputInvalid: there is no such model or index.
        ResourceUnavailable: the registry cannot be reached.
    """
    while True:
        located = locate_search(model, index)
        version = describe_version(located.chosen)
        found = locate_search(model, index)
        if found == located and describe_version(found.chosen) == version:
            return _describe(found, version)


def _describe(located: LocatedSearch, version: str) -> ServedPaths:
    root, parts = located.find_pictures_root(), located.parts
    is_ours = root is not None or located.index.resolve() == locate_demo_index()
    root = None if root is None else root.resolve()
    return ServedPaths(
        located.chosen.name,
        version,
        parts.composed,
        parts.encoder,
        located.index,
        root,
        ATTRIBUTION if is_ours else "",
        located.identify(),
    )


def locate_demo_index() -> Path:
    """Return where the index of the demonstration's pictures stands."""
    from compodiff.project import find_index_home

    return find_index_home(find_demo_gallery()).resolve()


def describe_version(chosen: ChosenModel) -> str:
    """Return what a model is, in words."""
    if not chosen.name.startswith("models:"):
        return chosen.name
    from compodiff.tracking.own_store import find_stored_version
    from compodiff.tracking.registry import MODEL, find_number_at
    from compodiff.tracking.store import open_store

    project, alias = chosen.find_project(), chosen.name.rpartition("@")[2]
    stored = find_stored_version(project, MODEL, alias)
    number = stored.number if stored else find_number_at(open_store(project), alias)
    return f"compodiff version {number}" if number else chosen.name
