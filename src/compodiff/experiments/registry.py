"""Every experiment by name: its question, what it measures and how that is drawn."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from compodiff.errors import InputInvalid
from compodiff.experiments import asking, training
from compodiff.experiments.outcome import BEYOND, Chart, ExperimentOutcome, Measurement, average_runs, log_line
from compodiff.experiments.setup import ExperimentSetup
from compodiff.machine import read_processor

Notes = Callable[[Sequence[Measurement], str], dict[str, Any]]


def find_best_point(points: Sequence[Measurement], metric: str) -> dict[str, Any]:
    """Return the settings with the highest metric."""
    best = max(points, key=lambda point: point.metrics[metric])
    return {"best": {**best.settings, metric: best.metrics[metric]}}


def log_fit(points: Sequence[Measurement], metric: str) -> dict[str, Any]:
    """Fit metric = a + b log2(triplets) by least squares; say what follows for ten times the data, and the residual."""
    logs = np.log2([float(point.settings["triplets"]) for point in points])
    values = np.array([point.metrics[metric] for point in points])
    start, gain = log_line(points, "triplets", metric)
    residual = values - (start + gain * logs)
    return {
        "gain_per_doubling": gain,
        f"{metric}_at_ten_times_the_data": float(start + gain * (logs.max() + np.log2(BEYOND))),
        "largest_residual": float(np.abs(residual).max()),
    }


@dataclass(frozen=True)
class Experiment:
    """One experiment.

    Attributes:
        question: what it answers; the title of its plot.
        measure: makes the points, one after the other.
        chart: how they are drawn.
        notes: what follows from the points.
        trains: it trains models of its own.
        benchmark: that it asks where none is named; None for the gallery's of the index.
    """

    question: str
    measure: Callable[[ExperimentSetup], Iterator[Measurement]]
    chart: Chart
    notes: Notes = find_best_point
    trains: bool = False
    benchmark: str | None = None

    def run(
        self, name: str, setup: ExperimentSetup, seeds: int, show: Callable[[Measurement], None]
    ) -> ExperimentOutcome:
        """Measure the points with each seed, give each to `show`, and say what follows from their means."""
        start, runs = time.perf_counter(), list[list[Measurement]]()
        for seed in range(seeds):
            runs.append([])
            for point in self.measure(setup.reseed(seed)):
                runs[-1].append(point)
                show(point)
        points = average_runs(runs)
        notes = self.describe_setup(setup, seeds) | {
            "processor": read_processor().name,
            "seconds": round(time.perf_counter() - start, 1),
            **self.notes(points, self.chart.metric),
        }
        return ExperimentOutcome(name, self.question, points, self.chart, notes)

    def describe_setup(self, setup: ExperimentSetup, seeds: int) -> dict[str, Any]:
        """Return all that an outcome depends on."""
        return {
            "benchmark": setup.benchmark.name,
            "queries": setup.benchmark.queries,
            "sampling": setup.params.sampling.model_dump(),
            "models": setup.digest_models(),
            "seeds": seeds,
            **({"training_steps": setup.training_steps} if self.trains else {}),
        }

    def read_current(self, folder: Path, setup: ExperimentSetup, seeds: int) -> ExperimentOutcome | None:
        """Read what an earlier run wrote; None where there is nothing, or it was measured on something else."""
        found, wanted = ExperimentOutcome.read(folder, self.chart), self.describe_setup(setup, seeds)
        return found if found is not None and found.notes | wanted == found.notes else None


EXPERIMENTS = {
    "steps-solver": Experiment(
        "How many network calls, with which solver?",
        asking.vary_steps_and_solver,
        Chart("lines", "num_inference_steps", "recall_at_10", by=("solver",), log=True),
    ),
    "draws": Experiment(
        "Do several answers to a query help, and how should they make one ranking?",
        asking.vary_draws_and_fusion,
        Chart("lines", "draws", "recall_at_10", by=("sampler", "fusion")),
    ),
    "guidance": Experiment(
        "How much should reference and text count?",
        asking.vary_guidance,
        Chart("heat", "w_text", "recall_at_1", by=("w_image",)),
    ),
    "conditions": Experiment(
        "What does each condition contribute?", asking.vary_conditions, Chart("bars", "conditions", "recall_at_10")
    ),
    "preservation": Experiment(
        "How much is kept of the reference, and how much of the edit arrives?",
        asking.vary_preservation,
        Chart("lines", "w_text", "kept", by=("w_image",)),
        benchmark="scenes",
    ),
    "task-mix": Experiment(
        "Which mix of tasks, and what is forgotten?",
        training.vary_task_mix,
        Chart("bars", "tasks", "recall_at_10"),
        trains=True,
    ),
    "data-scale": Experiment(
        "What do more triplets bring?",
        training.vary_data_scale,
        Chart("lines", "triplets", "recall_at_10", log=True, fitted=True),
        notes=log_fit,
        trains=True,
    ),
    "text-encoder": Experiment(
        "Which text encoders, and what of the text, does the network need to see?",
        training.vary_text_encoder,
        Chart("bars", "text", "recall_at_10"),
        trains=True,
    ),
    "domain-transfer": Experiment(
        "Does composition carry over to pictures of another style?",
        training.transfer_domain,
        Chart("bars", "trained_on", "recall_at_10", by=("tested_on",)),
        trains=True,
    ),
    "objective": Experiment(
        "Is diffusion needed at all?", training.vary_objective, Chart("bars", "objective", "recall_at_10"), trains=True
    ),
    "distillation": Experiment(
        "Do few network calls need distillation?",
        training.vary_distillation,
        Chart("lines", "num_inference_steps", "recall_at_10", by=("model",), log=True),
        trains=True,
    ),
}


def find_experiment(name: str) -> Experiment:
    """Return experiment `name`.

    Raises:
        InputInvalid: there is none.
    """
    if name not in EXPERIMENTS:
        raise InputInvalid(f"there is no experiment {name!r}; choose from: {', '.join(EXPERIMENTS)}")
    return EXPERIMENTS[name]
