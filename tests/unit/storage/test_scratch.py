"""A folder for what is needed meanwhile goes with its work, and after a kill when the next one is opened."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from compodiff.storage.ownership import mark_folder, require_replaceable_folder
from compodiff.storage.scratch import open_scratch

WORK = """
import sys, time
from pathlib import Path
from compodiff.storage.scratch import open_scratch
with open_scratch(Path(sys.argv[1])) as folder:
    (folder / "model").mkdir()
    (folder / "model" / "weights").write_bytes(bytes(1000))
    print(folder, flush=True)
    time.sleep(300)
"""


@contextmanager
def work_elsewhere(place: Path) -> Iterator[tuple[subprocess.Popen[str], Path]]:
    """Yield another process that works in a folder in `place`, and that folder, which has long been there."""
    with subprocess.Popen([sys.executable, "-c", WORK, str(place)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        folder = Path(process.stdout.readline().strip())
        os.utime(folder, (0, 0))
        yield process, folder
        process.kill()


def test_it_is_gone_when_the_work_ends_or_fails(tmp_path: Path) -> None:
    with open_scratch(tmp_path / "new") as folder:
        (folder / "file").touch()
        assert folder.parent == tmp_path / "new"
    with pytest.raises(KeyError), open_scratch(tmp_path / "new"):
        raise KeyError
    assert list((tmp_path / "new").iterdir()) == []


def test_one_that_another_clears_while_it_goes_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    remove = shutil.rmtree

    def remove_after_another(path: Path) -> None:
        remove(path)
        remove(path)

    monkeypatch.setattr("shutil.rmtree", remove_after_another)
    with open_scratch(tmp_path):
        pass
    assert list(tmp_path.iterdir()) == []


def test_it_lies_where_temporary_files_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with open_scratch() as folder:
        assert list(tmp_path.iterdir()) == [folder]


def test_what_a_killed_process_left_goes_when_the_next_opens_one(tmp_path: Path) -> None:
    with work_elsewhere(tmp_path) as (process, folder):
        with open_scratch(tmp_path):
            assert (folder / "model" / "weights").is_file()  # it works in it, however old it is
        process.send_signal(signal.SIGKILL)
        process.wait()
        with open_scratch(tmp_path) as own:
            assert list(tmp_path.iterdir()) == [own]


def test_one_that_was_made_just_now_stays_as_its_maker_may_be_about_to_lock_it(tmp_path: Path) -> None:
    young, other = tmp_path / ".scratch.a.compodiff-partial", tmp_path / ".scratch.b.compodiff-partial"
    young.mkdir()
    other.symlink_to(tmp_path)  # nobody's work
    with open_scratch(tmp_path) as own:
        assert sorted(tmp_path.iterdir()) == sorted([young, other, own])


def test_what_a_kill_left_in_a_folder_of_ours_is_nobody_elses(tmp_path: Path) -> None:
    mark_folder(tmp_path, "report", ["page"])
    left = tmp_path / ".scratch.a.compodiff-partial"
    left.mkdir()
    (left / "rows.parquet").touch()
    require_replaceable_folder(tmp_path, "report")
