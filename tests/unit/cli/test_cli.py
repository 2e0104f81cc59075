import errno
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
import typer

from compodiff import cli
from compodiff.errors import InputInvalid
from compodiff.project import find_project_root

COMPODIFF = Path(sys.executable).with_name("compodiff")


def _run(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([COMPODIFF, *arguments], cwd=cwd, capture_output=True, text=True, check=False)


def test_help_answers_in_half_a_second(tmp_path):
    times = []
    for _ in range(3):
        start = os.times()
        result = _run("--help", cwd=tmp_path)
        end = os.times()
        # CPU seconds of the child: the wall clock also counts what else the machine does.
        times.append(end.children_user + end.children_system - start.children_user - start.children_system)
        assert result.returncode == 0
    assert min(times) < 0.5


def test_an_unknown_stage_is_one_line_and_an_exit_code(tmp_path):
    (tmp_path / "params.yaml").touch()
    result = _run("run", "trian_prior", cwd=tmp_path)
    assert result.returncode == 1
    assert result.stderr.startswith("compodiff: there is no stage 'trian_prior'; the stages are: ")
    assert result.stderr.count("\n") == 1


def test_outside_a_project_the_way_out_is_named(tmp_path):
    with pytest.raises(InputInvalid, match=r"no params\.yaml in .* or above"):
        find_project_root(tmp_path)


def test_the_project_is_found_from_a_folder_below(tmp_path):
    (tmp_path / "params.yaml").touch()
    below = tmp_path / "a" / "b"
    below.mkdir(parents=True)
    assert find_project_root(below) == tmp_path.resolve()


@pytest.fixture
def faulty(monkeypatch, tmp_path, capsys):
    """Run the command line with a command that raises; return (exit code, stderr), which nothing is missing of."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))

    def run(error: BaseException) -> tuple[int, str]:
        def command() -> None:
            raise error

        app = typer.Typer(pretty_exceptions_enable=False)
        app.command("fail")(command)
        monkeypatch.setattr(cli, "app", app)
        monkeypatch.setattr(sys, "argv", ["compodiff"])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        return int(ended.value.code or 0), capsys.readouterr().err

    return run


def test_a_fault_of_the_program_is_one_line_and_its_traceback_is_kept(faulty, tmp_path):
    code, err = faulty(ZeroDivisionError("division\nby zero"))
    (kept,) = (tmp_path / "state" / "compodiff").iterdir()
    assert (code, err.count("\n")) == (70, 1)
    assert err == (
        "compodiff: a fault of this program: ZeroDivisionError: division by zero; "
        f"please report it with {kept} to the project's issue tracker\n"
    )
    assert "Traceback (most recent call last)" in kept.read_text()
    assert "raise error" in kept.read_text()


def test_a_traceback_is_kept_elsewhere_where_the_state_folder_cannot_be_made(faulty, tmp_path, monkeypatch):
    (tmp_path / "state").touch()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    assert faulty(KeyError())[0] == 70
    assert len(list(tmp_path.glob("traceback-*.txt"))) == 1


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (PermissionError(errno.EACCES, "Permission denied", "/lost+found"), 6, "/lost+found: Permission denied"),
        (OSError(errno.EXDEV, "Cross-device link", "a", None, "b\n"), 6, "a to b\\n: Cross-device link"),
        (OSError(errno.ENOSPC, "No space left on device"), 6, "No space left on device"),
        (OSError(errno.ENAMETOOLONG, "File name too long", b"\xff"), 6, "\\udcff: File name too long"),
        (InputInvalid("two\nlines \x1b[31mand red"), 1, "two\\nlines \\x1b[31mand red"),
    ],
)
def test_errors_of_a_disk_and_of_people_are_one_line_that_a_terminal_shows(faulty, error, code, said):
    assert faulty(error) == (code, f"compodiff: {said}\n")


def test_an_interrupt_is_no_fault(faulty):
    assert faulty(KeyboardInterrupt()) == (130, "")


def test_a_reader_that_has_gone_is_no_fault(tmp_path):
    """As `compodiff --help | head -c 1`, with a reader that is gone before the first byte."""
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [COMPODIFF, "--help"], cwd=tmp_path, stdout=writer, stderr=subprocess.PIPE, text=True, check=False
    )
    os.close(writer)
    assert done.stderr == ""
