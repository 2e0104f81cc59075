"""Whether git keeps this project, told to DVC, which otherwise looks for it in vain.

Run: python -m flows.processes.source_control.

A download of the sources has no history. DVC works there as well once its settings of this checkout say so, in
.dvc/config.local, which git never sees. They say nothing about it any more as soon as there is git.
"""

import configparser
import shutil
import subprocess
import sys
from pathlib import Path

from compodiff.errors import ResourceUnavailable


def match_source_control(project: Path) -> bool:
    """Set in DVC's settings whether there is git, and return it; a right setting is left untouched.

    Raises:
        ResourceUnavailable: the settings cannot be written.
    """
    folders = (project.resolve(), *project.resolve().parents)
    git = shutil.which("git")
    has_git = (
        git is not None and any((folder / ".git").exists() for folder in folders) and not _is_ignored(git, project)
    )
    settings = configparser.ConfigParser(interpolation=None)
    settings.read([project / ".dvc" / "config", project / ".dvc" / "config.local"], encoding="utf-8")
    if settings.getboolean("core", "no_scm", fallback=False) == has_git:
        change = ["--unset", "core.no_scm"] if has_git else ["core.no_scm", "true"]
        command = [sys.executable, "-m", "dvc", "config", "--local", *change]
        changed = subprocess.run(command, cwd=project, capture_output=True, text=True, check=False)
        if changed.returncode:
            reason = (changed.stderr.strip() or "no reason given").splitlines()[-1]
            raise ResourceUnavailable(f"{project}/.dvc/config.local cannot be written ({reason}); make it yours")
    return has_git


def _is_ignored(git: str, project: Path) -> bool:
    """Return whether git leaves the folder out, as it does with a preset's; DVC refuses to work there with git."""
    asked = subprocess.run([git, "check-ignore", "--quiet", "."], cwd=project, capture_output=True, check=False)
    return asked.returncode == 0


if __name__ == "__main__":
    match_source_control(Path.cwd())
