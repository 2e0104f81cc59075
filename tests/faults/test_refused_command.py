"""A command of compodiff that refuses ends its flow with the command's own reason, whatever the flow would do next."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prefect import Flow
from prefect.testing.utilities import prefect_test_harness

from compodiff.drift.report import FIGURES, KIND
from compodiff.storage.ownership import mark_folder
from flows.champion import score_champion
from flows.drift import look_for_drift
from flows.index_refresh import refresh_index


@pytest.fixture(scope="module", autouse=True)
def _prefect() -> Iterator[None]:
    with prefect_test_harness(server_startup_timeout=180):
        yield


@pytest.mark.parametrize(
    ("of", "parameters", "reason"),
    [
        (look_for_drift, {}, "look for drift: queries.npz is not there"),
        (score_champion, {"benchmark": "away"}, "score the champion: "),
        (refresh_index, {"folder": Path("away")}, "index build: "),
    ],
    ids=lambda value: value.name if isinstance(value, Flow) else "",
)
def test_a_flow_fails_with_the_reason_of_its_command(
    of: Flow[..., Any], parameters: dict[str, Any], reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    earlier = tmp_path / "artifacts" / "drift"
    earlier.mkdir(parents=True)
    (earlier / FIGURES).write_text('{"found": []}')
    mark_folder(earlier, KIND)
    state = of(**parameters, return_state=True)
    assert state.is_failed()
    assert f"FailedRun: {reason}" in str(state.message)
