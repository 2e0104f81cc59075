"""What the gate lets through, against the rule spelled out again here."""

from math import sqrt

import pytest
from factories import make_benchmark_gate
from hypothesis import given
from hypothesis import strategies as st

from compodiff.tracking.gate import Gates, Model, compute_least_gain, list_objections

EMOJI = make_benchmark_gate(max_plausible_loss=0.08)
GATE = {"emoji": EMOJI}
BOTH = {"emoji": EMOJI, "scenes": make_benchmark_gate(max_plausible_loss=0.08, floor=0.1)}
ENOUGH = 50
ONE_IN_FORTY, ONE_IN_A_HUNDRED = 1.959964, 2.326348  # quantiles of the normal distribution
RECALL = st.floats(0, 1)


def figures(recall: float, benchmark: str = "emoji", half: float = 0.05, **relations: float) -> dict[str, float]:
    composed = f"{benchmark}/composed"
    found = {
        f"{composed}/recall_at_10": recall,
        f"{composed}/intervals/recall_at_10/low": recall - half,
        f"{composed}/intervals/recall_at_10/high": recall + half,
    }
    for relation, value in relations.items():
        found[f"{composed}/relations/{relation}/recall_at_10"] = value
        found[f"{composed}/relations/{relation}/queries"] = 100.0
    return found


def objections(
    new: dict[str, float], old: dict[str, float] | None, gates: Gates, *, min_relation_queries: int
) -> list[str]:
    """Of models whose outcomes query by query were not kept; tests/unit/tracking/test_gain.py has those that were."""
    champion = None if old is None else Model(old, {})
    return list_objections(Model(new, {}), champion, gates, min_relation_queries=min_relation_queries)


def least_gain(new: dict[str, float], old: dict[str, float]) -> float | None:
    gain = compute_least_gain("emoji", "recall_at_10", Model(new, {}), Model(old, {}), searched=1)
    return gain and gain.plausible


@given(old=RECALL, new=RECALL, old_style=RECALL, new_style=RECALL, half=st.floats(0.001, 0.2))
def test_the_gate_lets_through_what_beats_floor_margin_doubt_and_relations(
    old: float, new: float, old_style: float, new_style: float, half: float
) -> None:
    reasons = objections(
        figures(new, half=half, style=new_style), figures(old, half=half, style=old_style), GATE,
        min_relation_queries=ENOUGH,
    )  # fmt: skip
    doubt = sqrt((new - (new - half)) ** 2 + ((old + half) - old) ** 2)
    beyond_doubt = new - old - doubt >= -0.08 and new - old - doubt * ONE_IN_A_HUNDRED / ONE_IN_FORTY > 0
    passes = new - half >= 0.4 and new >= old + 0.01 and beyond_doubt and new_style >= old_style - 0.1
    assert (not reasons) == passes


def test_a_relation_of_few_queries_does_not_object_and_a_missing_one_does() -> None:
    old, new = figures(0.5, style=0.9, hair=0.9), figures(0.6, style=0.1)
    assert objections(new, old, GATE, min_relation_queries=101) == []
    reasons = objections(new, old, GATE, min_relation_queries=ENOUGH)
    assert reasons[0] == "emoji/composed/relations/hair/recall_at_10 was not measured, the champion has 0.900"
    assert len(reasons) == 2


def test_a_benchmark_that_was_not_measured_is_named() -> None:
    assert objections({}, None, GATE, min_relation_queries=1) == ["benchmark emoji was not measured"]
    reasons = objections(figures(0.9), figures(0.5), BOTH, min_relation_queries=1)
    assert reasons == ["benchmark scenes was not measured"]


def test_a_figure_that_a_benchmark_does_not_have_is_named_with_those_it_has() -> None:
    gates = {"emoji": make_benchmark_gate(figure="recall_at_7")}
    (reason,) = objections(figures(0.9, style=0.9), None, gates, min_relation_queries=1)
    assert reason == "benchmark emoji has no figure 'recall_at_7'; name another in its gate, of: recall_at_10"


def test_all_benchmarks_have_to_pass_and_a_new_one_only_its_floor() -> None:
    old = figures(0.5)
    good, bad = figures(0.2, "scenes"), figures(0.12, "scenes")
    assert objections(figures(0.6) | good, old, BOTH, min_relation_queries=1) == []
    (reason,) = objections(figures(0.6) | bad, old, BOTH, min_relation_queries=1)
    assert reason == "scenes/composed/recall_at_10 may be as low as 0.070, below the floor of 0.100"
    (reason, *_) = objections(figures(0.6) | good, old | figures(0.3, "scenes"), BOTH, min_relation_queries=1)
    assert reason.startswith("scenes/composed/recall_at_10 is 0.200, which does not beat the champion's 0.300")


def test_too_few_queries_are_said_to_be() -> None:
    reasons = objections(figures(0.62, half=0.2), figures(0.6, half=0.2), GATE, min_relation_queries=1)
    assert reasons[0].endswith("may have lost 0.263, more than 0.080: too few queries to tell")
    assert reasons[1] == "no gain over the champion is beyond doubt (emoji/composed/recall_at_10 at least -0.316)"


def test_a_champion_without_an_interval_counts_as_uncertain_as_its_challenger() -> None:
    new, old = figures(0.6, half=0.03), {"emoji/composed/recall_at_10": 0.5}
    assert least_gain(new, old) == pytest.approx(0.1 - 0.03 * sqrt(2))
    assert least_gain({"emoji/composed/recall_at_10": 0.6}, old) is None
    (reason,) = objections({"emoji/composed/recall_at_10": 0.6}, old, GATE, min_relation_queries=1)
    assert reason == "emoji/composed/recall_at_10 has no confidence interval"


def test_what_lies_exactly_on_a_limit_passes() -> None:
    """All numbers are sixteenths, so that no rounding decides."""
    limits = make_benchmark_gate(floor=8 / 16, margin=2 / 16, max_relation_drop=4 / 16, max_plausible_loss=3 / 16)
    composed = "emoji/composed"
    old = figures(9 / 16, half=4 / 16, style=12 / 16)
    new = figures(11 / 16, half=3 / 16, style=8 / 16)
    assert new[f"{composed}/intervals/recall_at_10/low"] == limits.floor
    assert least_gain(new, old) == -limits.max_plausible_loss
    gate = {"emoji": limits}
    (reason,) = objections(new, old, gate, min_relation_queries=100)
    assert reason.startswith("no gain over the champion is beyond doubt")  # which these intervals cannot show
    new[f"{composed}/relations/style/recall_at_10"] -= 1 / 1024
    (reason, _) = objections(new, old, gate, min_relation_queries=100)  # as many queries as a relation needs
    assert reason.endswith("style/recall_at_10 falls from 0.750 to 0.499, by more than 0.250")


def test_every_benchmark_and_every_relation_is_looked_at() -> None:
    old, new = figures(0.5, art=0.9, style=0.9, hair=0.9), figures(0.9, art=0.9, style=0.2, hair=0.2)
    old["emoji/composed/relations/art/queries"] = old["emoji/composed/relations/hair/queries"] = 1.0
    both = {"scenes": EMOJI, "emoji": EMOJI}
    assert objections(new, old, both, min_relation_queries=ENOUGH) == [
        "benchmark scenes was not measured",
        "emoji/composed/relations/style/recall_at_10 falls from 0.900 to 0.200, by more than 0.100",
    ]


def test_only_the_models_figure_of_relations_with_known_queries_counts() -> None:
    """Neither a baseline, nor another figure, nor a relation whose queries nobody counted."""
    new, old = figures(0.6), figures(0.5)
    old |= {"emoji/image_only/recall_at_10": 0.9, "emoji/composed/relations/style/recall_at_1": 0.9}
    assert objections(new, old, GATE, min_relation_queries=0) == []
    old["emoji/composed/relations/hair/recall_at_10"] = 0.9
    assert objections(new, old, GATE, min_relation_queries=1) == []


def test_doubt_is_the_challengers_lower_and_the_champions_upper_half() -> None:
    new, old = figures(0.6), figures(0.5)
    interval = "emoji/composed/intervals/recall_at_10"
    new |= {f"{interval}/low": 0.57, f"{interval}/high": 0.8}
    old |= {f"{interval}/low": 0.1, f"{interval}/high": 0.54}
    assert least_gain(new, old) == pytest.approx(0.1 - 0.05)


@pytest.mark.parametrize("end", ["low", "high"])
def test_half_an_interval_is_none(end: str) -> None:
    new = figures(0.6)
    del new[f"emoji/composed/intervals/recall_at_10/{end}"]
    (reason,) = objections(new, None, GATE, min_relation_queries=1)
    assert reason == "emoji/composed/recall_at_10 has no confidence interval"


def test_each_benchmark_is_judged_by_the_figure_of_its_own_protocol() -> None:
    gates = {"emoji": EMOJI, "circo": make_benchmark_gate(figure="map_at_5", floor=0.2)}

    def circo(precision: float) -> dict[str, float]:
        """A benchmark with mean average precision, whose recall would pass any gate."""
        return {name.replace("recall_at_10", "map_at_5"): value for name, value in figures(precision, "circo").items()}

    others = figures(1.0, "circo", half=0.0)
    assert objections(figures(0.6) | circo(0.3), figures(0.5) | circo(0.28), gates, min_relation_queries=1) == []
    (reason,) = objections(figures(0.6) | circo(0.2) | others, None, gates, min_relation_queries=1)
    assert reason == "circo/composed/map_at_5 may be as low as 0.150, below the floor of 0.200"
    (reason,) = objections(figures(0.6) | others, None, gates, min_relation_queries=1)
    assert reason == "benchmark circo has no figure 'map_at_5'; name another in its gate, of: recall_at_10"
