"""Time limits of what a flow runs; that a stage is stopped with all that it started is in test_pipeline.py."""

from pathlib import Path

import pytest
from prefect import flow
from prefect.exceptions import FailedRun
from prefect.testing.utilities import prefect_test_harness

from compodiff.errors import ParamsInvalid
from flows.tasks import find_limit, run_compodiff


def test_the_smaller_limit_counts_and_a_wrong_one_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert find_limit("embed@emoji", 60.0) == 60.0  # no params.yaml
    Path("params.yaml").write_text("time_limits: {hours: 2, stages: {embed: 1}}")
    assert [find_limit(name, 7200.0) for name in ("embed@emoji", "train_prior")] == [3600.0, 7200.0]
    assert find_limit("train_prior", 60.0) == 60.0
    Path("params.yaml").write_text("time_limits: {hours: soon, stages: {}}")
    with pytest.raises(ParamsInvalid, match=r"params\.yaml: time_limits\.hours: "):
        find_limit("train_prior", 60.0)


def test_a_command_at_its_limit_is_not_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("flows.tasks.PROGRAM", "sh")
    with (
        prefect_test_harness(server_startup_timeout=180),
        pytest.raises(FailedRun, match="stopped at its limit of 1 s"),
    ):
        flow(run_compodiff)("sleep", ["-c", "echo begun >> begun; exec sleep 300"], limit_seconds=1)
    assert (tmp_path / "begun").read_text() == "begun\n"
