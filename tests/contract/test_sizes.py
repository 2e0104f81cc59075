"""A file fits in the head, a function on the screen."""

import ast
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MOST_OF_A_FILE, MOST_OF_A_FUNCTION = 300, 45


def list_long_functions(code: str) -> list[str]:
    """Return the names of functions whose body is too long, without signature and docstring.

    Options of a command and docstrings with Args are tables, which may be of any length.
    """
    long = []
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            body = node.body[1:] if ast.get_docstring(node) is not None else node.body
            if body and (node.end_lineno or 0) - body[0].lineno + 1 > MOST_OF_A_FUNCTION:
                long.append(node.name)
    return long


@pytest.mark.parametrize("folder", ["src", "flows", "tests"])
def test_files_and_functions_are_short(folder: str) -> None:
    codes = {
        str(path.relative_to(ROOT)): path.read_text(encoding="utf-8") for path in sorted((ROOT / folder).rglob("*.py"))
    }
    assert codes
    assert [path for path, code in codes.items() if len(code.splitlines()) > MOST_OF_A_FILE] == []
    assert [(path, name) for path, code in codes.items() for name in list_long_functions(code)] == []


@pytest.mark.parametrize(("lines", "long"), [(45, []), (46, ["made"])])
def test_a_long_body_is_found_and_a_long_table_is_not(lines: int, long: list[str]) -> None:
    options = "".join(f"    option{number}: int,\n" for number in range(50))
    said = '    """Make it.\n\n' + "    An argument.\n" * 50 + '    """\n'
    assert list_long_functions(f"def made(\n{options}):\n{said}" + "    pass\n" * lines) == long
    assert list_long_functions("def made():\n" + "    pass\n" * lines) == long


def test_no_two_modules_of_tests_share_a_name() -> None:
    """pytest imports a module of tests by its file's name alone."""
    names = Counter(path.name for path in (ROOT / "tests").rglob("test_*.py"))
    assert [name for name, number in names.items() if number > 1] == []
