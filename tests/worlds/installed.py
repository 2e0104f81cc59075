"""The package as pip installs it: a wheel in an environment of its own, and no repository."""

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

ROOT = Path(__file__).parents[2]
BUILT_FROM = ("pyproject.toml", "README.md", "LICENSE", "params.yaml", "dvc.yaml", "data.dvc", "infra", "src", "flows")


def install_wheel(folder: Path) -> Path:
    """Build the wheel without the network, install it, and return the environment's programs.

    What the package depends on comes from the environment that runs the tests, less the package itself: of the folder
    that a .pth file names, other .pth files are not read, and with them no editable installation.
    """
    sources = folder / "sources"
    ignored = shutil.ignore_patterns("__pycache__", "*.egg-info", ".env")
    for name in BUILT_FROM:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        sources.mkdir(parents=True, exist_ok=True)
        copy(ROOT / name, sources / name, **({"symlinks": True, "ignore": ignored} if copy is shutil.copytree else {}))
    pip = [sys.executable, "-m", "pip"]
    build = [*pip, "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--no-index", "--wheel-dir", folder]
    subprocess.run([*build, sources], cwd=folder, check=True)
    shutil.rmtree(sources)
    environment = folder / "environment"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", environment], check=True)
    (wheel,) = folder.glob("*.whl")
    into = ["--python", environment / "bin" / "python", "install", "--quiet", "--no-deps", "--no-index", wheel]
    subprocess.run([*pip, *into], cwd=folder, check=True, env={**os.environ, "PYTHONPATH": ""})
    packages = next(environment.glob("lib/python*/site-packages"))
    (packages / "dependencies.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")
    return environment / "bin"
