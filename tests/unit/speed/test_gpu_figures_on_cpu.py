"""`compodiff bench gpu --device cpu`: parts run at a tiny size; one that fails leaves the others their figures."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from compodiff.cli import app
from compodiff.speed.gpu import sampling
from compodiff.speed.gpu.timing import Row

COMMAND = ["bench", "gpu", "--device", "cpu", "--only", "sampling", "--json"]


def test_it_prints_and_writes_what_it_measures(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, [*COMMAND, "--to", str(tmp_path / "gpu.json")])
    assert done.exit_code == 0, done.output
    table = json.loads(done.stdout)
    assert {**table, "written_by": "compodiff:figures of a GPU"} == json.loads((tmp_path / "gpu.json").read_text())
    assert {row["part"] for row in table["rows"]} == {"card", "sampling"}
    answered = [row for row in table["rows"] if row["unit"] == "queries/s"]
    assert len(answered) == 2
    assert all(row["value"] > 0 for row in answered)


def test_a_part_that_fails_has_a_line_and_keeps_what_it_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    def break_down(name: str, *_: object) -> Iterator[Row]:
        yield Row(name, "before", 1.0, "s")
        raise MemoryError("no more of it")

    monkeypatch.setattr(sampling, "measure_sampling", break_down)
    done = CliRunner().invoke(app, COMMAND)
    assert done.exit_code != 0
    assert "not measured: sampling" in f"{done.exception}{done.stderr}"
    *_, before, failed = json.loads(done.stdout)["rows"]
    assert before["value"] == 1.0
    assert failed["what"] == "failed"
    assert failed["value"].startswith("MemoryError: no more of it (test_gpu_figures_on_cpu.py:")


def test_an_unknown_part_is_refused_by_one_line() -> None:
    done = CliRunner().invoke(app, ["bench", "gpu", "--device", "cpu", "--only", "drawing"])
    assert "--only drawing is not one of: card, " in f"{done.exception}{done.stderr}"
