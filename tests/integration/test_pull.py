"""A clone that ran: its dvc.lock differs from the commit, as bits differ by processor.

docs/installation.md says how to pull all the same.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DVC_YAML = """
stages:
  encode: {cmd: "echo encode >> ../runs; echo $MACHINE > encoder", deps: [data], outs: [encoder]}
  embed: {cmd: "echo embed >> ../runs; cp -n encoder embedded", deps: [encoder], outs: [embedded: {persist: true}]}
  train: {cmd: "echo train >> ../runs; cp embedded trained", deps: [embedded], outs: [trained]}
"""


class Clone:
    """A checkout on one machine."""

    def __init__(self, folder: Path, machine: str) -> None:
        self.folder = folder
        self._environment = {**os.environ, "MACHINE": machine, "DVC_NO_ANALYTICS": "1"}

    def run(self, *command: str) -> str:
        done = subprocess.run(
            command, cwd=self.folder, env=self._environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def git(self, *arguments: str) -> str:
        return self.run("git", "-c", "user.name=t", "-c", "user.email=t@example.org", *arguments)

    def dvc(self, *arguments: str) -> str:
        return self.run(sys.executable, "-m", "dvc", *arguments)

    def stages_run(self) -> list[str]:
        """Return what ran since the last time that this was asked."""
        path = self.folder.parent / "runs"
        ran = path.read_text().split() if path.exists() else []
        path.unlink(missing_ok=True)
        return ran


@pytest.fixture
def ours(tmp_path: Path) -> Clone:
    (tmp_path / "a" / "project").mkdir(parents=True)
    clone = Clone(tmp_path / "a" / "project", "ours")
    clone.git("init", "--quiet")
    clone.dvc("init", "--quiet")
    (clone.folder / "data").write_text("words\n")
    (clone.folder / "dvc.yaml").write_text(DVC_YAML)
    clone.dvc("repro", "--quiet")
    commit(clone)
    return clone


def recipe() -> str:
    """Return the commands of docs/installation.md."""
    lines = (ROOT / "docs" / "installation.md").read_text(encoding="utf-8").splitlines()
    (found,) = (line for line in lines if line.startswith("cp dvc.lock "))
    return found


def commit(clone: Clone) -> None:
    clone.git("add", "--all")
    clone.git("commit", "--quiet", "--message", "run")


def test_a_clone_that_ran_pulls_as_the_documents_say_and_runs_nothing_again(ours: Clone, tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    ours.git("clone", "--quiet", ".", str(tmp_path / "b" / "project"))
    theirs = Clone(tmp_path / "b" / "project", "another")
    theirs.dvc("repro")
    assert theirs.stages_run() == ["encode", "embed", "train"]
    assert theirs.git("status", "--short") == " M dvc.lock\n"
    (ours.folder / "dvc.lock").write_text((ours.folder / "dvc.lock").read_text() + "# recorded anew\n")
    commit(ours)

    with pytest.raises(AssertionError, match="would be overwritten by merge"):
        theirs.git("pull")
    theirs.run("sh", "-c", recipe())
    theirs.dvc("repro")
    assert theirs.stages_run() == []
    assert theirs.git("rev-parse", "HEAD") == ours.git("rev-parse", "HEAD")
    assert (theirs.folder / "trained").read_text() == "another\n"
