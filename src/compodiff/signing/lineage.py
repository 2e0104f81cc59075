"""What a model was made of, by the digests of dvc.lock: from the data, over sets and trainings, to its folders."""

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import yaml

_Digests = dict[str, str]  # path -> md5, as DVC has it


def trace_lineage(project: Path, made: Mapping[str, Path]) -> dict[str, Any]:
    """Return the stages of dvc.lock that `made` comes from, with the digests of what each read and wrote.

    A digest that one stage read must be the digest that another wrote, and those of `made` are computed from its files.
    Where one is not, `broken` says which: dvc.lock is then about other files than these, or a stage was run by hand.
    What it says nothing of, such as a model that the pipeline did not make, is `unrecorded`.

    Args:
        project: the folder that holds dvc.lock.
        made: path in the project -> the folder or file of the model that should be it.
    """
    lock = project / "dvc.lock"
    if not lock.is_file():
        return {"stages": {}, "broken": [], "unrecorded": sorted(made)}
    is_there = _read_graph(project)  # DVC keeps what it noted of stages that were taken out of the graph
    noted = _read_yaml(lock).get("stages", {})
    stages = {name: _read_stage(entry) for name, entry in noted.items() if is_there(name)}
    recorded = {path: _find_written(stages, path) for path in made}
    broken = [
        f"{path} is not what dvc.lock records"
        for path, digest in recorded.items()
        if digest and digest != compute_dvc_digest(made[path])
    ]
    needed = _find_needed(stages, [*made])
    for name, stage in needed.items():
        for path, digest in stage["read"].items():
            if (written := _find_written(stages, path)) and written != digest:
                broken.append(f"{name} read another {path} than was written last")
    unrecorded = sorted(path for path, digest in recorded.items() if not digest)
    return {"stages": needed, "broken": sorted(broken), "unrecorded": unrecorded}


def compute_dvc_digest(path: Path) -> str | None:
    """Return the md5 by which DVC knows a file or a folder; None where there is none."""
    if path.is_file():
        return _digest_md5(path)
    if not path.is_dir():
        return None
    files = sorted(
        (each for each in path.rglob("*") if each.is_file()), key=lambda each: each.relative_to(path).as_posix()
    )
    listing = [{"md5": _digest_md5(each), "relpath": each.relative_to(path).as_posix()} for each in files]
    text = json.dumps(listing, sort_keys=True).encode()
    return f"{hashlib.md5(text, usedforsecurity=False).hexdigest()}.dir"


def _read_graph(project: Path) -> Callable[[str], bool]:
    """Return whether a stage of a name, such as embed@emoji, is one of dvc.yaml; any is where dvc.yaml is not there."""
    if not (project / "dvc.yaml").is_file():
        return lambda name: True
    keys: dict[str, Any] = {}
    for group, entry in _read_yaml(project / "dvc.yaml").get("stages", {}).items():
        over = entry.get("foreach", None if "matrix" in entry else ())
        # ${sets}: a section of params.yaml. What is not read here, as DVC knows more ways to say it, may have any key.
        keys[group] = _read_yaml(project / "params.yaml").get(over.strip("${}")) if isinstance(over, str) else over

    def is_there(name: str) -> bool:
        group, is_one_of_several, key = name.partition("@")
        return group in keys and (not is_one_of_several or keys[group] is None or key in keys[group])

    return is_there


def _read_yaml(path: Path) -> Mapping[str, Any]:
    content: Mapping[str, Any] | None = yaml.safe_load(path.read_text(encoding="utf-8"))
    return content or {}


def _read_stage(entry: Mapping[str, Any]) -> dict[str, _Digests]:
    """Return what a stage read, less the code, and wrote."""
    read, written = (
        {str(each["path"]): str(each["md5"]) for each in entry.get(kind, ()) if "md5" in each}
        for kind in ("deps", "outs")
    )
    code = {path: digest for path, digest in read.items() if path.startswith("src/")}
    return {"code": code, "read": {path: read[path] for path in read if path not in code}, "wrote": written}


def _find_written(stages: Mapping[str, Mapping[str, _Digests]], path: str) -> str | None:
    return next((stage["wrote"][path] for stage in stages.values() if path in stage["wrote"]), None)


def _find_needed(stages: Mapping[str, dict[str, _Digests]], paths: list[str]) -> dict[str, dict[str, _Digests]]:
    """Return the stages that wrote any of `paths`, or what these read; a folder is read with all that lies in it."""
    needed: dict[str, dict[str, _Digests]] = {}
    while paths:
        wanted = paths.pop()
        for name, stage in stages.items():
            if name not in needed and any(out == wanted or out.startswith(f"{wanted}/") for out in stage["wrote"]):
                needed[name] = stage
                paths += stage["read"]
    return dict(sorted(needed.items()))


def _digest_md5(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
