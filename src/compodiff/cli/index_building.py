"""How the commands of `compodiff index` build, watch, and find what an index is over."""

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from compodiff.cli.output import echo, show_work
from compodiff.errors import ResourceUnavailable
from compodiff.project import find_params_file
from compodiff.search.locate import choose_index_place, choose_model, find_model_parts

if TYPE_CHECKING:
    from compodiff.index.folder import BuildPlan, FolderBuild
    from compodiff.index.sources import Sources


def build_index(folder: Path, index: Path, model: str | None, todo: "BuildPlan") -> None:
    """Build, and say what came of it."""
    _load_builder(folder, index, model)(todo)


def _load_builder(folder: Path, index: Path, model: str | None) -> Callable[["BuildPlan"], None]:
    """Load the model's encoder; return what builds with it and says what it did."""
    from compodiff.encoders import load_encoder
    from compodiff.index.folder import build_folder_index
    from compodiff.index.manifest import require_replaceable_index
    from compodiff.params import load_params

    require_replaceable_index(index)
    chosen = choose_model(model, index)
    encoder_folder = find_model_parts(chosen).encoder
    with show_work("opening the encoder"):
        encoder = load_encoder(encoder_folder).prepare_for_many()
    params, made_by = load_params(find_params_file()).index, chosen.to_json()

    def build(todo: "BuildPlan") -> None:
        todo = replace(todo, made_by=made_by, encoder_folder=encoder_folder)
        _tell(build_folder_index(folder, index, encoder, params, todo))

    return build


def _tell(built: "FolderBuild") -> None:
    from compodiff.images.listing import name_others, name_passed

    for name, reason in built.unreadable.items():
        echo(f"left out: {name} ({reason})", err=True)
    for line in (name_others(built.others), name_passed(built.passed), built.unmet and f"note: {built.unmet}"):
        if line:
            echo(line, err=True)
    echo(f"{built.pictures} pictures in {built.index}, {built.encoded} newly encoded, {len(built.unreadable)} left out")


def watch_folders(sources: "Sources", index: Path, model: str | None, every: float) -> None:
    """Add what comes and what changes, until the process is asked to end."""
    import signal

    from compodiff.index.comparing import list_changed
    from compodiff.index.folder import BuildPlan
    from compodiff.index.watching import watch_pictures

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    builder = _load_builder(sources.root, index, model)
    list_changed(index, sources.root, ())  # there is an index
    echo(f"watching {', '.join(sources.list_paths())}; Ctrl-C ends it", err=True)
    for listing, settled in watch_pictures(sources, every, lambda why: echo(f"waiting: {why}", err=True)):
        if changed := list_changed(index, sources.root, settled):
            _build_when_free(builder, BuildPlan(changed, listing, keep=True), every)


def _build_when_free(builder: Callable[["BuildPlan"], None], todo: "BuildPlan", every: float) -> None:
    """Build; while another writes the index, or the disk is full, say so once and wait."""
    import time

    told = False
    while True:
        try:
            builder(todo)
        except ResourceUnavailable as error:
            if not told:
                echo(f"waiting: {error}", err=True)
            told = True
            time.sleep(every)
        else:
            return


def find_sources(folder: Path, out: Path | None) -> tuple["Sources", Path]:
    """Return where the pictures of an index are looked for, and its own folder; FOLDER may be one of several."""
    from compodiff.index.manifest import read_manifest
    from compodiff.index.scanning import resolve
    from compodiff.index.sources import Sources
    from compodiff.index.stamp import stamp

    folder = resolve(folder)
    index = resolve(out or choose_index_place(folder))
    if stamp(index) == (0, 0):
        return Sources(folder), index
    sources = Sources.read_beside(index, resolve(index / read_manifest(index).pictures_root))
    return (sources if sources.hold(folder) else Sources(folder)), index
