"""The gate of params.yaml: what stands against making a challenger champion, each objection one sentence."""

from collections.abc import Iterator, Mapping
from math import hypot

from compodiff.params import BenchmarkGate

Figures = Mapping[str, float]  # such as emoji/composed/recall_at_10
Gates = Mapping[str, BenchmarkGate]


def list_objections(
    challenger: Figures, champion: Figures | None, gates: Gates, *, min_relation_queries: int
) -> list[str]:
    """Return why `challenger` may not replace `champion` (None: there is none) by their figures; nothing where it may.

    Args:
        challenger: its figures by name.
        champion: the same of the one to be replaced.
        gates: what a challenger must show, by the benchmark's name.
        min_relation_queries: relations with fewer queries say too little to object by.
    """
    reasons: list[str] = []
    for name, limits in gates.items():
        composed = f"{name}/composed"
        figure = f"{composed}/{limits.figure}"
        if figure not in challenger:
            reasons.append(f"benchmark {name} was not measured")
            continue
        reasons += _find_below_floor(composed, challenger, limits)
        if champion is not None and figure in champion:
            reasons += _find_not_better(composed, challenger, champion, limits)
            reasons += _find_fallen_relations(composed, challenger, champion, limits, min_relation_queries)
    return reasons


def read_interval(figures: Figures, composed: str, figure: str) -> tuple[float, float] | None:
    """Return the ends of the confidence interval of one of `composed`'s figures, or None where it was not measured."""
    low, high = (figures.get(f"{composed}/intervals/{figure}/{end}") for end in ("low", "high"))
    return None if low is None or high is None else (low, high)


def compute_least_gain(composed: str, figure: str, challenger: Figures, champion: Figures) -> float | None:
    """Return the lower end of the confidence interval of challenger minus champion.

    It is made of the two intervals as if they were independent (MOVER: Zou and Donner, Statistics in Medicine 2008,
    equation 5). Both models answer the same queries, so the true interval is narrower: the gate errs towards the
    champion. A champion registered without an interval counts as uncertain as the challenger.
    """
    own = read_interval(challenger, composed, figure)
    if own is None:
        return None
    new, old = challenger[f"{composed}/{figure}"], champion[f"{composed}/{figure}"]
    others = read_interval(champion, composed, figure)
    above = own[1] - new if others is None else others[1] - old
    return new - old - hypot(new - own[0], above)


def _find_below_floor(composed: str, challenger: Figures, limits: BenchmarkGate) -> Iterator[str]:
    own = read_interval(challenger, composed, limits.figure)
    if own is None:
        yield f"{composed}/{limits.figure} has no confidence interval"
    elif own[0] < limits.floor:
        yield f"{composed}/{limits.figure} may be as low as {own[0]:.3f}, below the floor of {limits.floor:.3f}"


def _find_not_better(composed: str, challenger: Figures, champion: Figures, limits: BenchmarkGate) -> Iterator[str]:
    figure = f"{composed}/{limits.figure}"
    new, old = challenger[figure], champion[figure]
    if new < old + limits.margin:
        yield f"{figure} is {new:.3f}, which does not beat the champion's {old:.3f} by {limits.margin:.3f}"
    gain = compute_least_gain(composed, limits.figure, challenger, champion)
    if gain is not None and gain < -limits.max_plausible_loss:
        yield f"{figure} may have lost {-gain:.3f}, more than {limits.max_plausible_loss:.3f}: too few queries to tell"


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
