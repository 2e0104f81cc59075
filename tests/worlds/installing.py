"""Stand-ins for the commands that an installation finds on the path."""

import importlib.util
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import distributions
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).parents[2]

Make = Callable[..., "subprocess.CompletedProcess[str]"]


def load_infra(name: str) -> ModuleType:
    """A script of infra/, as a module."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "infra" / f"{name}.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def script(path: Path, text: str) -> Path:
    """Write a command in the shell's language."""
    path.write_text(f"#!{shutil.which('sh')}\n{text}\n")
    path.chmod(0o755)
    return path


def python(path: Path, version: str, *, can_make_environments: bool = True) -> Path:
    """Write a Python that says that it is of another version; all else is the real one's."""
    say = f"import sys; sys.version_info = ({version.replace('.', ', ')}, 0); sys.executable = '{path}'"
    refuse = "" if can_make_environments else "case $2 in *ensurepip*) exit 1;; esac"
    return script(
        path,
        f'[ "$1" = -V ] && echo Python {version}.0 && exit\n{refuse}\n'
        f'[ "$1" = -c ] && exec "{sys.executable}" -c "{say}; $2"\nexec "{sys.executable}" "$@"',
    )


def write_sbom(folder: Path, **versions: str) -> None:
    """Write what `make sbom` makes, in short: what is installed here, and of `versions` another version than that."""
    installed = {each.name: each.version for each in distributions()} | versions
    components = [{"type": "library", "name": name, "version": version} for name, version in installed.items()]
    (folder / "build").mkdir(exist_ok=True)
    content = {"bomFormat": "CycloneDX", "specVersion": "1.6", "components": components}
    (folder / "build" / "sbom.json").write_text(json.dumps(content))
