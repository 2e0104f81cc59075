"""Every experiment by name: its question, what it measures and how that is drawn."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from compodiff.errors import InputInvalid
from compodiff.experiments import asking, training
from compodiff.experiments.outcome import Chart, ExperimentOutcome, Measurement, log_line
from compodiff.experiments.setup import ExperimentSetup

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
        f"{metric}_at_ten_times_the_data": float(start + gain * (logs.max() + np.log2(10))),
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
    """

    question: str
    measure: Callable[[ExperimentSetup], Iterator[Measurement]]
    chart: Chart
    notes: Notes = find_best_point
    trains: bool = False

    def run(self, name: str, setup: ExperimentSetup, show: Callable[[Measurement], None]) -> ExperimentOutcome:
        """Measure the points, each of which is given to `show`, and say what follows from them."""
        points = []
        for point in self.measure(setup):
            points.append(point)
            show(point)
        notes = {
            "benchmark": setup.benchmark.name,
            "queries": setup.benchmark.queries,
            "sampling": setup.params.sampling.model_dump(),
            **({"training_steps": setup.training_steps} if self.trains else {}),
            **self.notes(points, self.chart.metric),
        }
        return ExperimentOutcome(name, self.question, points, self.chart, notes)


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
