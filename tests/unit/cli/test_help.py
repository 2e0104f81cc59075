"""The example of help(compodiff) runs, and the version is told without loading the library."""

import doctest
import os
import pydoc
import subprocess
import sys
from pathlib import Path

import compodiff


def test_the_example_of_help_runs(search_project: Path, monkeypatch) -> None:
    monkeypatch.chdir(search_project)
    example = doctest.DocTestParser().get_doctest(compodiff.__doc__, {}, "compodiff", None, None)
    assert len(example.examples) >= 4
    results = doctest.DocTestRunner().run(example)
    assert results.failed == 0
    assert results.attempted == len(example.examples)


def test_help_shows_the_example_as_it_is_typed() -> None:
    shown = pydoc.plain(pydoc.render_doc(compodiff))
    for line in compodiff.__doc__.splitlines():
        assert line in shown
    assert 'search("🔴", "make it blue", k=3)' in shown
    assert compodiff.__version__ in shown


def test_the_version_costs_no_heavy_import() -> None:
    code = "import sys; from compodiff.cli import main\ntry: main()\nfinally: print('torch' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code, "--version"], capture_output=True, text=True, check=False, env=dict(os.environ)
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [f"compodiff {compodiff.__version__}", "False"]
