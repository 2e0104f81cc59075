"""The gate of params.yaml: what stands against making a challenger champion, each objection one sentence."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import hypot
from statistics import NormalDist

from compodiff.outcomes import QueryOutcomes, estimate_gain
from compodiff.params import BenchmarkGate

Figures = Mapping[str, float]  # such as emoji/composed/recall_at_10
Gates = Mapping[str, BenchmarkGate]
Outcomes = Mapping[str, QueryOutcomes]  # by the benchmark's name

_PLAUSIBLE = 0.95  # level of the interval of the difference, as of every interval that is reported
# Of challengers no better than the champion one in a hundred is let through by the search for a gain, however many
# benchmarks are searched (Bonferroni); tests/unit/tracking/test_gain.py simulates it.
_FALSE_GAINS = 0.01


@dataclass(frozen=True)
class Model:
    """What the gate knows of a version: its figures, and where they were kept, its outcomes query by query."""

    figures: Figures
    outcomes: Outcomes


@dataclass(frozen=True)
class LeastGain:
    """The lower ends of two intervals of challenger minus champion: `plausible` of 95 %, and a `sure`, wider one."""

    plausible: float
    sure: float


def list_objections(challenger: Model, champion: Model | None, gates: Gates, *, min_relation_queries: int) -> list[str]:
    """Return why `challenger` may not replace `champion` (None: there is none); nothing where it may.

    Args:
        challenger: what it was measured to do.
        champion: the same of the one to be replaced.
        gates: what a challenger must show, by the benchmark's name.
        min_relation_queries: relations with fewer queries say too little to object by.
    """
    reasons: list[str] = []
    gains: dict[str, LeastGain] = {}
    for name, limits in gates.items():
        composed = f"{name}/composed"
        figure = f"{composed}/{limits.figure}"
        if figure not in challenger.figures:
            reasons.append(_describe_unmeasured(name, limits.figure, challenger.figures))
            continue
        reasons += _find_below_floor(composed, challenger.figures, limits)
        if champion is not None and figure in champion.figures:
            gain = compute_least_gain(name, limits.figure, challenger, champion, searched=len(gates))
            gains |= {figure: gain} if gain else {}
            reasons += _find_not_better(figure, challenger.figures, champion.figures, limits, gain)
            reasons += _find_fallen_relations(
                composed, challenger.figures, champion.figures, limits, min_relation_queries
            )
    if gains and all(gain.sure <= 0 for gain in gains.values()):
        ends = ", ".join(f"{figure} at least {gain.sure:+.3f}" for figure, gain in gains.items())
        reasons.append(f"no gain over the champion is beyond doubt ({ends})")
    return reasons


def _describe_unmeasured(name: str, figure: str, figures: Figures) -> str:
    composed = f"{name}/composed/"
    own = (each.removeprefix(composed) for each in figures if each.startswith(composed))
    measured = sorted(each for each in own if "/" not in each)
    if not measured:
        return f"benchmark {name} was not measured"
    return f"benchmark {name} has no figure {figure!r}; name another in its gate, of: {', '.join(measured)}"


def read_interval(figures: Figures, composed: str, figure: str) -> tuple[float, float] | None:
    """Return the ends of the confidence interval of one of `composed`'s figures, or None where it was not measured."""
    low, high = (figures.get(f"{composed}/intervals/{figure}/{end}") for end in ("low", "high"))
    return None if low is None or high is None else (low, high)


def compute_least_gain(
    name: str, figure: str, challenger: Model, champion: Model, *, searched: int
) -> LeastGain | None:
    """Return by how much at least the challenger is better on benchmark `name`; None where it has no interval.

    The two are compared query by query. Where they answered other queries, or one of them was registered before
    outcomes were kept, their intervals are joined as if they were independent (MOVER: Zou and Donner, Statistics in
    Medicine 2008, equation 5), which errs towards the champion. A champion registered without an interval counts as
    uncertain as the challenger.

    Args:
        name: of the benchmark.
        figure: the metric.
        challenger: what it was measured to do.
        champion: the same of the one to be replaced.
        searched: among how many benchmarks a gain is looked for.
    """
    levels = _PLAUSIBLE, 1 - 2 * _FALSE_GAINS / searched
    both = challenger.outcomes.get(name), champion.outcomes.get(name)
    if both[0] is not None and both[1] is not None:
        paired = [estimate_gain(both[0], both[1], figure, level=level) for level in levels]
        lows = [ends[0] for ends in paired if ends is not None]
        if lows:
            return LeastGain(*lows)
    composed = f"{name}/composed"
    own = read_interval(challenger.figures, composed, figure)
    if own is None:
        return None
    new, old = challenger.figures[f"{composed}/{figure}"], champion.figures[f"{composed}/{figure}"]
    others = read_interval(champion.figures, composed, figure)
    doubt = hypot(new - own[0], own[1] - new if others is None else others[1] - old)
    plausible, sure = (NormalDist().inv_cdf((1 + level) / 2) for level in levels)
    return LeastGain(new - old - doubt, new - old - doubt * sure / plausible)


def _find_below_floor(composed: str, challenger: Figures, limits: BenchmarkGate) -> Iterator[str]:
    own = read_interval(challenger, composed, limits.figure)
    if own is None:
        yield f"{composed}/{limits.figure} has no confidence interval"
    elif own[0] < limits.floor:
        yield f"{composed}/{limits.figure} may be as low as {own[0]:.3f}, below the floor of {limits.floor:.3f}"


def _find_not_better(
    figure: str, challenger: Figures, champion: Figures, limits: BenchmarkGate, gain: LeastGain | None
) -> Iterator[str]:
    new, old = challenger[figure], champion[figure]
    if new < old + limits.margin:
        yield f"{figure} is {new:.3f}, which does not beat the champion's {old:.3f} by {limits.margin:.3f}"
    if gain is not None and gain.plausible < -limits.max_plausible_loss:
        lost = f"{figure} may have lost {-gain.plausible:.3f}, more than {limits.max_plausible_loss:.3f}"
        yield f"{lost}: too few queries to tell"


def _find_fallen_relations(
    composed: str, challenger: Figures, champion: Figures, limits: BenchmarkGate, min_queries: int
) -> Iterator[str]:
    ending = f"/{limits.figure}"
    for figure in sorted(champion):
        if not (figure.startswith(f"{composed}/relations/") and figure.endswith(ending)):
            continue
        if champion.get(f"{figure.removesuffix(ending)}/queries", 0) < min_queries:
            continue
        old, new = champion[figure], challenger.get(figure)
        if new is None:
            yield f"{figure} was not measured, the champion has {old:.3f}"
        elif new < old - limits.max_relation_drop:
            yield f"{figure} falls from {old:.3f} to {new:.3f}, by more than {limits.max_relation_drop:.3f}"
