"""Give each preset a project of its own: presets/NAME, whose artifacts, dvc.lock, cache and mlruns nothing else uses.

It has the graph and the code of the project that it stands in, and params.yaml as composed of that project's and of
infra/params/NAME.yaml; every command and flow works in it as in any project. git ignores it.
"""

import configparser
import io
import logging
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

import yaml

from compodiff.params import compose_params
from compodiff.storage.atomic import replace_path

FOLDER = "presets"

_COPIED = ("dvc.yaml", ".dvcignore")
_LINKED = ("src", ".venv")  # what dvc.yaml names of the project's code and programs
_SERVER = "MLFLOW_TRACKING_URI"
_log = logging.getLogger(__name__)


def enter_preset(project: Path, preset: str) -> Path:
    """Go into the project of a preset, brought up to date with the project it stands in, and return its folder.

    A server of MLflow's is left alone: the preset's models would compete with the default's to be its champion.

    Raises:
        ParamsInvalid: there is no such preset, or it does not fit params.yaml.
        ResourceUnavailable: the folder cannot be written.
    """
    folder = prepare_preset(project, preset)
    if os.environ.pop(_SERVER, None):
        _log.warning("preset %s keeps runs and models in %s/mlruns, not where %s says", preset, folder, _SERVER)
    os.chdir(folder)
    return folder


def prepare_preset(project: Path, preset: str) -> Path:
    """Make the project of a preset, or bring it up to date; what was run and made in it stays.

    Args:
        project: the folder that holds params.yaml and infra/params.
        preset: the name of a file there, less its .yaml.

    Raises:
        ParamsInvalid: there is no such preset, or it does not fit params.yaml.
        ResourceUnavailable: the folder cannot be written.
    """
    params = compose_params(project, preset)
    folder = project / FOLDER / preset
    origin = (
        f"# Made of params.yaml and infra/params/{preset}.yaml: edit those, as the next run makes this file anew.\n"
    )
    _write(folder / "params.yaml", origin + yaml.safe_dump(params, sort_keys=False))
    cases = params.get("promotion", {}).get("behaviour")
    for name in (*_COPIED, *([cases] if cases else [])):
        if (project / name).is_file():
            _write(folder / name, (project / name).read_text(encoding="utf-8"))
    for name in _LINKED:
        if (project / name).exists():
            with suppress(FileExistsError):
                (folder / name).symlink_to(Path("..", "..", name))
    _record_data(project / "data.dvc", folder / "data.dvc", params["data"])
    _prepare_dvc(project / ".dvc", folder / ".dvc")
    return folder


def _record_data(recorded: Path, own: Path, data: dict[str, Any]) -> None:
    """Take over what data/ has to be; a preset with another section `data` builds and records data of its own."""
    if recorded.is_file():
        text = recorded.read_text(encoding="utf-8")
        if not own.exists() or yaml.safe_load(text).get("meta", {}).get("params") == data:
            _write(own, text)


def _prepare_dvc(project: Path, preset: Path) -> None:
    """Begin with the settings of the project, remotes too, but for git, which does not keep this one.

    Credentials stay in a file of their own that only its owner reads, as there.
    """
    if (preset / "config").exists():
        return
    for name in ("config.local", "config"):  # the last one says that all are there
        settings = configparser.ConfigParser(interpolation=None)
        settings.read(project / name, encoding="utf-8")
        settings.remove_section("cache")
        if name == "config":
            settings.read_dict({"core": {"no_scm": "true"}})
        for section in settings.sections():
            place = settings.get(section, "url", fallback="")
            if place and "://" not in place:  # of a folder: DVC counts it from where the setting stands
                settings.set(section, "url", os.path.abspath(project / place))
        if page := settings.get("plots", "html_template", fallback=""):
            settings.set("plots", "html_template", os.path.abspath(project / page))
        written = io.StringIO()
        settings.write(written)
        if settings.sections():
            _write(preset / name, written.getvalue(), mode=0o600 if name == "config.local" else None)


def _write(path: Path, text: str, *, mode: int | None = None) -> None:
    if not path.is_file() or path.read_text(encoding="utf-8") != text:
        with replace_path(path) as temporary:
            if mode is not None:
                temporary.touch(mode)
            temporary.write_text(text, encoding="utf-8")
