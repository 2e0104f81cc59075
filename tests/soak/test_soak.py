"""A team's month in minutes, under faults from a seed. An hour: .venv/bin/python infra/soak.py --minutes 60."""

from pathlib import Path

import pytest
from worlds.soak.plan import KINDS, plan_faults
from worlds.soak.scenario import soak

SEED = 1
MINUTES = 10


def test_the_faults_of_a_seed_are_the_same_each_time_and_more_than_three_a_minute() -> None:
    planned = plan_faults(SEED, 3600, list(KINDS))
    assert planned == plan_faults(SEED, 3600, list(KINDS))
    assert planned != plan_faults(SEED + 1, 3600, list(KINDS))
    assert len(planned) >= 150
    assert {each.kind for each in planned} == set(KINDS)
    here = plan_faults(SEED, 3600, [kind for kind in KINDS if kind != "cut network"])
    assert here == [each for each in planned if each.kind != "cut network"]


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_ten_minutes_of_faults_violate_nothing(
    small_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with capsys.disabled():
        report = soak(small_data, tmp_path / "team", seed=SEED, seconds=60 * MINUTES, say=print)
    assert report.violations == [], str(report)
