"""Every schedule of infra/prefect.yaml over the days on which the clocks change, as Prefect itself computes it."""

import asyncio
from collections import Counter
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
import yaml
from prefect.server.schemas.schedules import CronSchedule
from worlds.operated import ROOT

DEPLOYMENTS = yaml.safe_load((ROOT / "infra" / "prefect.yaml").read_text())["deployments"]
SCHEDULED = {deployment["name"]: schedule for deployment in DEPLOYMENTS for schedule in deployment.get("schedules", [])}
DAILY = [name for name in SCHEDULED if name in ("nightly", "daily")]


def dates(schedule: dict[str, str], start: datetime, count: int) -> list[datetime]:
    made = CronSchedule(cron=schedule["cron"], timezone=schedule["timezone"])
    return asyncio.run(made.get_dates(n=count, start=start))


@pytest.mark.parametrize("name", DAILY)
@pytest.mark.parametrize("change", ["2027-03-28", "2026-10-25"], ids=["summer begins", "summer ends"])
def test_a_daily_run_comes_once_a_day_also_when_the_clocks_change(name: str, change: str) -> None:
    zone = ZoneInfo(SCHEDULED[name]["timezone"])
    start = datetime.fromisoformat(change).replace(tzinfo=UTC) - (datetime(2026, 1, 4) - datetime(2026, 1, 1))
    runs = [run.astimezone(zone) for run in dates(SCHEDULED[name], start, 6)]
    assert set(Counter(run.date() for run in runs).values()) == {1}
    minute, hour = (int(part) for part in SCHEDULED[name]["cron"].split()[:2])
    assert {(run.hour, run.minute) for run in runs} == {(hour, minute)}


def test_a_weekly_run_keeps_its_hour_of_the_wall_clock() -> None:
    runs = dates(SCHEDULED["weekly"], datetime(2027, 3, 1, tzinfo=UTC), 8)
    assert {run.astimezone(ZoneInfo("Europe/Paris")).strftime("%A %H:%M") for run in runs} == {"Sunday 04:00"}
    assert {run.astimezone(UTC).hour for run in runs} == {2, 3}


@pytest.mark.parametrize(("change", "hour"), [("2027-03-28", 1), ("2026-10-25", 2)], ids=["skipped", "repeated"])
def test_a_daily_run_in_the_hour_that_the_clocks_skip_or_repeat_comes_once(change: str, hour: int) -> None:
    zone = ZoneInfo("Europe/Paris")
    start = datetime.fromisoformat(change).replace(tzinfo=UTC) - timedelta(days=2)
    runs = [run.astimezone(zone) for run in dates({"cron": "30 2 * * *", "timezone": "Europe/Paris"}, start, 5)]
    assert set(Counter(run.date() for run in runs).values()) == {1}
    (that_day,) = (run for run in runs if run.date().isoformat() == change)
    assert (that_day.hour, that_day.minute) == (hour, 30)


@pytest.mark.parametrize("change", ["2027-03-28", "2026-10-25"], ids=["skipped", "repeated"])
def test_a_folder_is_watched_each_quarter_of_an_hour_also_while_the_clocks_change(change: str) -> None:
    start = datetime.fromisoformat(change).replace(tzinfo=UTC) - timedelta(hours=3)
    runs = [run.timestamp() for run in dates(SCHEDULED["watch"], start, 32)]
    assert {later - run for run, later in pairwise(runs)} == {15 * 60}


def test_another_time_zone_moves_the_run_and_does_not_double_it() -> None:
    start = datetime(2026, 12, 1, tzinfo=UTC)
    paris = dates(SCHEDULED["nightly"], start, 3)
    tokyo = dates({**SCHEDULED["nightly"], "timezone": "Asia/Tokyo"}, start, 3)
    assert [run.astimezone(UTC).hour for run in paris] == [0, 0, 0]
    assert [run.astimezone(UTC).hour for run in tokyo] == [16, 16, 16]
