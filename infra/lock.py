"""Resolve constraints.txt anew, for every Python that serves: python infra/lock.py. `make lock` runs it.

Each Python asks pip what it would install, which fetches little. What all would install alike is one line; what only
some need gets their versions as its condition. All of them must be there: pins that nobody resolved are worth nothing.
"""

import json
import re
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
WANTED = ".[cpu,photos,postgres,s3,test]"


def main() -> int:
    """Write constraints.txt and return the exit code."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    versions = [each.rpartition(" ")[2] for each in project["classifiers"] if re.search(r":: 3\.\d+$", each)]
    resolved: dict[str, dict[str, str]] = {}
    for version in versions:
        command = ["bash", str(ROOT / "infra" / "find_python.sh"), f"python{version}"]
        found = subprocess.run(command, capture_output=True, text=True, check=False)
        if found.returncode:
            sys.stderr.write(f"{found.stderr.strip()} (make lock resolves for each of {', '.join(versions)})\n")
            return 1
        resolved[version] = resolve(found.stdout.strip())
    path = ROOT / "constraints.txt"
    comments = [line for line in path.read_text(encoding="utf-8").splitlines() if line.startswith("#")]
    path.write_text("\n".join((*comments, *merge(resolved))) + "\n", encoding="utf-8")
    return 0


def resolve(python: str) -> dict[str, str]:
    """Return name -> version of what pip of this Python would install into an empty environment."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        subprocess.run([python, "-m", "venv", f"{folder}/environment"], check=True)
        pip = [f"{folder}/environment/bin/python", "-m", "pip", "install", "--dry-run", "--ignore-installed"]
        subprocess.run([*pip, "--report", str(report), "--editable", WANTED], cwd=ROOT, check=True)
        installed = [each["metadata"] for each in json.loads(report.read_text(encoding="utf-8"))["install"]]
    return {
        each["name"].lower().replace("_", "-"): each["version"] for each in installed if each["name"] != "compodiff"
    }


def merge(resolved: dict[str, dict[str, str]]) -> list[str]:
    """Return the lines of constraints.txt, from Python version -> name -> version; the Pythons are in rising order."""
    lines = []
    for name in sorted({name for pins in resolved.values() for name in pins}):
        pins = {python: found[name] for python, found in resolved.items() if name in found}
        for pin in sorted(set(pins.values())):
            pythons = [python for python, version in pins.items() if version == pin]
            condition = " or ".join(f'python_version == "{python}"' for python in pythons)
            lines.append(f"{name}=={pin}" + ("" if len(pythons) == len(resolved) else f"; {condition}"))
    return lines


if __name__ == "__main__":
    sys.exit(main())
