"""Figures of a benchmark reach the gate from whichever command wrote them."""

from pathlib import Path

import pytest

from compodiff.errors import InputInvalid
from compodiff.storage.atomic import write_json
from compodiff.tracking.figures import read_figures

COMPOSED = {"recall_at_10": 0.6, "intervals": {"recall_at_10": [0.5, 0.7]}}
RELATIONS = {"style": {"recall_at_10": 0.4, "queries": 60}}


def test_what_evaluate_and_what_benchmark_run_write_is_read_alike(tmp_path: Path) -> None:
    write_json(tmp_path / "evaluated.json", {"composed": COMPOSED | {"relations": RELATIONS}, "record": {"seed": 3}})
    summary = {"metrics": {"recall_at_10": 0.6}, "intervals": {"recall_at_10": [0.5, 0.7]}, "groups": RELATIONS}
    ran = {"metrics": {"recall_at_10": 0.6}, "rows": {"composed": summary}, "record": {"seed": 3}}
    write_json(tmp_path / "ran.json", ran, "benchmark result")
    figures = [read_figures(tmp_path / name) for name in ("evaluated.json", "ran.json")]
    assert figures[0] == figures[1] == {"composed": COMPOSED | {"relations": RELATIONS}}


@pytest.mark.parametrize("content", ["[]", "{}", '{"composed": {}}', "3"])
def test_another_file_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "other.json").write_text(content)
    with pytest.raises(InputInvalid, match=r"other\.json is no result of a benchmark; write one by"):
        read_figures(tmp_path / "other.json")
