"""Begin a project outside the repository: params.yaml, dvc.yaml and folders that every command and flow works in.

The files that it starts from lie in compodiff/defaults: in the repository they are links to the top-level ones, in an
installed package copies. The graph there watches the version of the installed package where the repository's watches
the code: the stage `installed` writes it, and every other stage depends on it.
"""

import os
import shlex
from collections.abc import Mapping
from contextlib import suppress
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml

from compodiff.errors import InputInvalid
from compodiff.params import FilesBenchmarkParams, OwnSetParams, Params, compose_params
from compodiff.stages.sources import say_how_to_make
from compodiff.storage.atomic import replace_path
from compodiff.storage.ownership import MARKER

DEFAULTS = Path(str(files("compodiff") / "defaults"))
VERSION = ".compodiff-version"
CODE = "src/"

_IGNORED = """\
/data
/artifacts/
/mlruns/
/.compodiff-version
/.prefect/
/.dvc/config.local
/.dvc/tmp/
/.dvc/cache/
"""
_DVC = "[core]\n    analytics = false\n    check_update = false\n[plots]\n    html_template = plots.html\n"
# As flows/processes/source_control.py writes it where there is no git; it drops the setting once there is.
_WITHOUT_GIT = "[core]\n    no_scm = true\n"
_README = """\
# A project of CompoDiff

Name in params.yaml what to learn from (`sets`) and what to score on (`benchmarks`), then run, in this folder:

{prepare}
    compodiff data                # emoji, on which the default encoder is trained
    dvc repro                     # embeds, validates, trains, scores, registers
    compodiff promote             # the new model becomes champion, if it passes the gate
    compodiff search --reference PICTURE --text "make it blue"

`python -m flows.pipeline` does all from `compodiff data` to `compodiff promote` as one Prefect flow, with retries and
time limits. infra/prefect.yaml has deployments with schedules; its first lines say how they are started.
"""


def begin_project(folder: Path, preset: str) -> None:
    """Write the files of a new project into `folder`; what is there already, as it would be written, stays.

    Args:
        folder: made where it is not there.
        preset: what is laid over the default's params: a name of compodiff/defaults/infra/params.

    Raises:
        ParamsInvalid: there is no such preset.
        InputInvalid: `folder` is a file, or holds anything else than these files.
        ResourceUnavailable: it cannot be written.
    """
    contents = compose_files(preset)
    _require_unused(folder, contents)
    for name, text in contents.items():
        if not (folder / name).exists():
            with replace_path(folder / name) as temporary:
                temporary.write_text(text, encoding="utf-8")


def compose_files(preset: str) -> dict[str, str]:
    """Return the files of a new project, path -> text; the last one makes the folder a project.

    Raises:
        ParamsInvalid: there is no such preset.
    """
    params = _compose_params(preset)
    checked = Params.model_validate(yaml.safe_load(params))
    return {
        ".gitignore": _IGNORED,
        ".dvcignore": "/mlruns\n/.prefect\n",
        ".dvc/config": _DVC,
        ".dvc/config.local": _WITHOUT_GIT,
        ".dvc/plots.html": (DEFAULTS / "plots.html").read_text(encoding="utf-8"),
        "README.md": _README.format(prepare=_describe_sources(checked)),
        "sets/README.md": "What `compodiff import FILES --to sets/NAME` makes; `sets` of params.yaml names it.\n",
        "benchmarks/README.md": "NAME/gallery/, NAME/queries.test.jsonl, NAME/queries.validation.jsonl\n",
        "data.dvc": (DEFAULTS / "catalogue.yaml").read_text(encoding="utf-8"),
        "infra/prefect.yaml": _compose_deployments(checked),
        "dvc.yaml": _compose_graph(),
        "params.yaml": params,
    }


def _compose_graph() -> str:
    """Return the repository's graph with the version of the installed package in the place of its code."""
    graph: dict[str, Any] = yaml.safe_load((DEFAULTS / "graph.yaml").read_text(encoding="utf-8"))
    for stage in graph["stages"].values():
        own = stage.get("do", stage)
        own["deps"] = [VERSION, *(path for path in own["deps"] if not path.startswith(CODE))]
    command = f"PATH=$PATH:.venv/bin compodiff --version > {VERSION}"
    written = {"cmd": command, "always_changed": True, "outs": [{VERSION: {"cache": False}}]}
    graph["stages"] = {"installed": written, **graph["stages"]}
    origin = "# The stages of CompoDiff; `dvc repro` runs what is out of date; another version, all of them.\n"
    return origin + yaml.safe_dump(graph, sort_keys=False, width=120)


def _describe_sources(params: Params) -> str:
    """Return the commands by which what params.yaml names is put where it says."""
    lines = [f"    {say_how_to_make(own)}" for own in params.sets.values() if isinstance(own, OwnSetParams)]
    lines += [
        f"    compodiff benchmark doctor {each.format} --root {shlex.quote(each.root)}"
        for each in params.benchmarks.values()
        if isinstance(each, FilesBenchmarkParams)
    ]
    return "\n".join(lines)


def _compose_deployments(params: Params) -> str:
    """Return the repository's deployments, with the benchmark of these params in the place of the default's."""
    text = (DEFAULTS / "infra" / "prefect.yaml").read_text(encoding="utf-8")
    name = params.index.gallery
    return text.replace("artifacts/benchmarks/emoji", f"artifacts/benchmarks/{name}").replace(
        "registered_as: emoji", f"registered_as: {name}"
    )


def _compose_params(preset: str) -> str:
    """Return params.yaml with a preset laid over it; sections that one of them gives as a whole keep comments."""
    values = compose_params(DEFAULTS, preset)
    below = _cut_sections((DEFAULTS / "params.yaml").read_text(encoding="utf-8"))
    above = _cut_sections((DEFAULTS / "infra" / "params" / f"{preset}.yaml").read_text(encoding="utf-8"))
    origin = "# Every number that changes a result. Begun by compodiff init; it is yours to edit.\n"
    order = [*above, *(name for name in values if name not in above)]
    texts = (_choose_text(name, values[name], above, below) for name in order)
    return origin + "".join(f"\n{text}" for text in texts)


def _choose_text(name: str, value: Any, above: Mapping[str, str], below: Mapping[str, str]) -> str:
    for text in (above.get(name, ""), below[name]):
        with suppress(yaml.YAMLError):  # it uses what another section names
            if "<<" not in text and text and yaml.safe_load(text) == {name: value}:
                return text
    return yaml.safe_dump({name: value}, sort_keys=False, width=120)


def _cut_sections(text: str) -> dict[str, str]:
    """Return the lines of each top-level key."""
    sections: dict[str, str] = {}
    name = ""
    for line in text.splitlines():
        if line[:1].isalpha():
            name = line.partition(":")[0]
        if name and not line.startswith("#"):
            sections[name] = sections.get(name, "") + line + "\n"
    return {name: section.rstrip("\n") + "\n" for name, section in sections.items()}


def _require_unused(folder: Path, contents: Mapping[str, str]) -> None:
    """Refuse a folder that holds anything but what would be written; so a run that was killed can be repeated.

    Raises:
        InputInvalid: it does, or is no folder.
    """
    if not os.path.lexists(folder):
        return
    if not folder.is_dir():
        raise InputInvalid(f"{folder} is a file; name a folder")
    above = {str(parent) for name in contents for parent in Path(name).parents}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        ours = name in above if path.is_dir() else _is_same(path, contents.get(name))
        if path.is_symlink() or not ours:
            raise InputInvalid(f"{folder} holds {name!r}; a project begins in an empty folder: name another one")
    if (folder / MARKER).exists():
        raise InputInvalid(f"{folder} is a folder that compodiff made; name another one")


def _is_same(path: Path, text: str | None) -> bool:
    return text is not None and path.is_file() and path.read_bytes() == text.encode()
