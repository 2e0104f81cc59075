"""DVC's remote gives yesterday's object under the name of today's, or holds what an upload left that was cut off."""

import os
import subprocess
from pathlib import Path

import pytest
import yaml
from worlds.operated import BIN, environment

from flows.processes.mend_remote import mend_remote


def dvc(project: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [BIN / "dvc", *arguments]
    return subprocess.run(command, cwd=project, env=environment(project), capture_output=True, text=True, check=False)


def push(project: Path, words: str, remote: Path) -> Path:
    """Push a file that says `words`; return where the remote keeps it."""
    (project / "data").write_text(words)
    for command in (["add", "data"], ["push"]):
        done = dvc(project, *command, "--quiet")
        assert done.returncode == 0, done.stderr
    digest = yaml.safe_load((project / "data.dvc").read_text())["outs"][0]["md5"]
    return remote / "files" / "md5" / digest[:2] / digest[2:]


def test_what_an_upload_left_that_was_cut_off_is_no_object_and_goes_once_nobody_writes_to_it(tmp_path: Path) -> None:
    project, remote = tmp_path / "project", tmp_path / "remote"
    project.mkdir()
    for command in (["init", "--no-scm"], ["remote", "add", "--default", "team", str(remote)]):
        assert dvc(project, *command, "--quiet").returncode == 0
    kept = push(project, "a cat\n", remote)
    going_on, cut_off = (kept.parent / f".{letter * 22}.tmp" for letter in "ab")
    for path in (going_on, cut_off):
        path.write_text("a c")
    os.utime(cut_off, (1e9, 1e9))
    assert mend_remote(project) == (1, [], [])
    assert sorted(kept.parent.iterdir()) == sorted([kept, going_on])


@pytest.mark.slow
def test_a_remote_that_gives_yesterdays_object_is_refused_and_mended(tmp_path: Path) -> None:
    """With `verify`, as docs/operating.md sets a team's remote."""
    project, second, remote = tmp_path / "project", tmp_path / "second", tmp_path / "remote"
    for folder in (project, second):
        folder.mkdir()
        for command in (
            ["init", "--no-scm"],
            ["remote", "add", "--default", "team", str(remote)],
            ["remote", "modify", "team", "verify", "true"],
        ):
            assert dvc(folder, *command, "--quiet").returncode == 0
    yesterdays = push(project, "a cat\n", remote)
    todays = push(project, "a dog\n", remote)
    todays.chmod(0o644)
    todays.write_bytes(yesterdays.read_bytes())

    (second / "data.dvc").write_text((project / "data.dvc").read_text())
    refused = dvc(second, "pull")
    assert refused.returncode != 0
    assert "Checkout failed" in refused.stderr
    assert not (second / "data").exists()
    command = [BIN / "python", "-m", "flows.processes.mend_remote"]
    settings = environment(project, PYTHONPATH=str(Path(__file__).parents[2]))
    mended = subprocess.run(command, cwd=project, env=settings, capture_output=True, text=True, check=True)
    assert ", 1 put back\n" in mended.stdout  # DVC itself removed what it found to be wrong
    assert dvc(second, "pull").returncode == 0
    assert (second / "data").read_text() == "a dog\n"
