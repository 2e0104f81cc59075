"""A command of the shell, run in this process."""

import sys
from collections.abc import Callable

import pytest
from typer.testing import CliRunner, Result

from compodiff.cli import app, main


def run_command(*arguments: object) -> Result:
    """Run a command that ends well; raise its error otherwise."""
    result = CliRunner().invoke(app, list(map(str, arguments)))
    if result.exit_code:
        raise result.exception or AssertionError(result.output)
    return result


def make_shell(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str, str]]:
    """Return what runs the command line as a shell sees it, and returns (exit code, stdout, stderr)."""

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["compodiff", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        out, err = capsys.readouterr()
        return int(ended.value.code or 0), out, err

    return run
