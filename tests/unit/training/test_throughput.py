"""Rows a second and the share of a GPU's peak (MFU), with a peak that this processor is said to have."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from worlds import training as world

from compodiff.training import throughput
from compodiff.training.throughput import Throughput, count_operations

PEAK = 1e13  # operations a second, beyond what a processor of the tests reaches
CPU = torch.device("cpu")


@pytest.fixture
def known_peak(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(throughput, "find_peak", lambda _: PEAK)


def test_the_operations_of_a_product_are_counted_forward_and_backward() -> None:
    network, rows = nn.Linear(5, 7, bias=False), torch.ones(3, 5)

    def work() -> Tensor:
        network(rows).sum().backward()
        return network.weight.grad

    found, operations = count_operations(work)
    assert torch.equal(found, torch.full((7, 5), 3.0))
    assert operations == 2 * (2 * 3 * 5 * 7)  # the inputs need no gradient


@pytest.mark.usefixtures("known_peak")
def test_the_share_is_operations_a_second_over_the_peak(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [100.0]
    monkeypatch.setattr(throughput.time, "perf_counter", lambda: clock[0])
    counted = Throughput(CPU, 2, rows_per_step=6)
    for _ in range(4):
        assert counted.watch(lambda: torch.ones(10, 20) @ torch.ones(20, 30)).shape == (10, 30)
        counted.add_step()
    clock[0] += 0.5
    assert counted.rows_per_second == 4 * 6 / 0.5
    assert counted.list_metrics() == {"mfu": pytest.approx(4 * (2 * 10 * 20 * 30) / 0.5 / PEAK)}
    counted.restart()
    clock[0] += 1
    assert counted.list_metrics() == {"mfu": 0.0}


def test_where_no_peak_is_known_nothing_is_counted_or_said() -> None:
    counted = Throughput(CPU, 1, rows_per_step=6)
    assert counted.watch(lambda: "done") == "done"
    assert counted.list_metrics() == {}


@pytest.mark.usefixtures("known_peak")
def test_a_training_tells_the_share_and_learns_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world.write_embeddings(tmp_path / "embeddings")
    changes = {"steps": 4, "validate_every": 2, "accumulation_steps": 2}
    told: list[dict[str, float]] = []
    curve = world.train_in(tmp_path, "told", changes, on_metrics=lambda _, metrics: told.append(dict(metrics)))
    assert len(told) == 2
    assert all(0 < metrics["mfu"] < 1 for metrics in told)
    assert "mfu" not in curve.columns
    monkeypatch.setattr(throughput, "find_peak", lambda _: None)
    told.clear()
    plain = world.train_in(tmp_path, "plain", changes, on_metrics=lambda _, metrics: told.append(dict(metrics)))
    assert not any("mfu" in metrics for metrics in told)
    assert list(plain["loss"]) == list(curve["loss"])
