"""Deleting and moving away happen in one module, which asks first whose a thing is."""

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
FILES = sorted((*ROOT.glob("src/**/*.py"), *ROOT.glob("flows/**/*.py"), *ROOT.glob("infra/**/*.py")))
DELETING = {"rmtree", "unlink", "remove", "rmdir", "removedirs", "move", "rename", "renames", "truncate"}
OF_PATHS = {"rmtree", "unlink", "rmdir", "removedirs", "rename", "renames"}  # whatever they are called on
MODULES = {"os", "shutil"}
# Files that no person chose: MLflow's outbox in mlruns/, in .dvc/tmp DVC's torn list of locks and our open flows, and
# what says where a server of ours listens; the signature of a chain that is written anew; the champion's last score.
ALLOWED = {
    "src/compodiff/serving/records.py": {"unlink"},
    "src/compodiff/signing/chain.py": {"unlink"},
    "src/compodiff/storage/ownership.py": {"rmtree", "unlink"},
    "src/compodiff/tracking/outbox.py": {"unlink"},
    "flows/champion.py": {"unlink"},
    "flows/processes/dvc_child.py": {"unlink"},
    "flows/processes/open_runs.py": {"unlink"},
}


def deletions(tree: ast.AST) -> Iterator[str]:
    """Names of the calls that take something off the disk."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module in MODULES:
            yield from ({each.name for each in node.names} & DELETING)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            on_module = isinstance(node.func.value, ast.Name) and node.func.value.id in MODULES
            if node.func.attr in (DELETING if on_module else OF_PATHS):
                is_table = node.func.attr == "rename" and any(
                    each.arg in ("columns", "index") for each in node.keywords
                )
                if not is_table:
                    yield node.func.attr


def test_the_search_finds_what_deletes() -> None:
    code = (
        "shutil.rmtree(a)\npath.unlink()\nos.remove(b)\nfrom shutil import rmtree\nrows.remove(1)\nt.rename(columns={})"
    )
    assert sorted(deletions(ast.parse(code))) == ["remove", "rmtree", "rmtree", "unlink"]


def test_nothing_is_deleted_elsewhere() -> None:
    found = {str(path.relative_to(ROOT)): set(deletions(ast.parse(path.read_text("utf-8")))) for path in FILES}
    assert {path: names for path, names in found.items() if names - ALLOWED.get(path, set())} == {}
