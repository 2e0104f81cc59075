"""What people see: names as they are, whatever is in them, and nothing that a terminal would obey."""

import ast
import json
import sys
from pathlib import Path

import pytest
from PIL import Image
from typer.testing import CliRunner

import compodiff.cli
from compodiff.cli import app
from compodiff.cli.output import echo, print_table, show_work
from compodiff.errors import InputInvalid

ODD = ("[draft] cat.png", "a:dog:b.png", "Album [/one].png", "[bold]x[/bold].png", "\x1b[31mred\x1b[0m.png", "a\nb.png")
ESCAPED = (*ODD[:4], "\\x1b[31mred\\x1b[0m.png", "a\\nb.png")


def test_names_in_tables_are_data(capsys):
    print_table(
        [("[red]name", "left"), ("n", "right")], [(name, "1") for name in ODD], title="[b]:dog:", has_lines=False
    )
    shown = capsys.readouterr().out
    for name in (*ESCAPED, "[red]name", "[b]:dog:"):
        assert name in shown
    assert "\x1b" not in shown


def test_lines_are_one_line_without_commands_to_the_terminal(capsys):
    echo(f"left out: {ODD[-2]} and {ODD[-1]}", err=True)
    assert capsys.readouterr().err == f"left out: {ESCAPED[-2]} and {ESCAPED[-1]}\n"


def test_an_error_that_names_a_file_is_one_line(capsys, monkeypatch):
    def fail() -> None:
        raise InputInvalid(f"{ODD[-2]}{ODD[-1]} is no picture")

    monkeypatch.setattr(compodiff.cli, "app", fail)
    with pytest.raises(SystemExit):
        compodiff.cli.main()
    assert capsys.readouterr().err == f"compodiff: {ESCAPED[-2]}{ESCAPED[-1]} is no picture\n"


def test_everything_but_json_is_printed_by_one_module():
    """`typer.echo` writes what it is given, and a table of rich reads markup in plain strings."""
    folder = Path(compodiff.cli.__file__).parent
    for path in folder.glob("*.py"):
        if path.name == "output.py":
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom | ast.Import):
                assert "rich" not in ast.unparse(node).split(), path
            if isinstance(node, ast.Call) and ast.unparse(node.func) in ("typer.echo", "typer.secho", "print"):
                assert not node.args or ast.unparse(node.args[0]).startswith("json.dumps("), f"{path}:{node.lineno}"


@pytest.fixture
def project(search_project, monkeypatch, tmp_path):
    monkeypatch.chdir(search_project)
    for number, name in enumerate(("[draft] cat.png", "a:dog:b.png", "\x1b[31mred.png")):
        Image.new("RGB", (40, 40), (80 * number, 99, 140 - 60 * number)).save(tmp_path / name)
    return tmp_path


def test_a_search_shows_names_as_they_are_and_json_exactly(project):
    def run(*arguments: str) -> str:
        done = CliRunner().invoke(app, [*arguments], catch_exceptions=False)
        assert done.exit_code == 0
        return done.stdout

    run("index", "build", str(project), "--model", "artifacts")
    search = ("search", "--index", str(project), "--model", "artifacts", "--text", "red")
    table = run(*search)
    assert all(name in table for name in ("[draft] cat.png", "a:dog:b.png", "\\x1b[31mred.png"))
    assert "\x1b" not in table
    names = {result["name"] for result in json.loads(run(*search, "--json"))["results"]}
    assert names == {"[draft] cat.png", "a:dog:b.png", "\x1b[31mred.png"}


def test_work_is_shown_on_a_terminal_only_and_not_where_quiet_is_asked_for(capsys, monkeypatch):
    with show_work("opening") as change:
        change("still opening")
    assert capsys.readouterr() == ("", "")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    with show_work("opening", is_quiet=True):
        pass
    assert capsys.readouterr() == ("", "")
    with show_work("opening [draft]"):
        pass
    assert "opening [draft]" in capsys.readouterr().err
