"""Two versions of the model side by side, challenger against champion, as a page: all queries, and each relation."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from compodiff.benchmarks.datasets.assembled import open_assembled
from compodiff.errors import InputInvalid
from compodiff.outcomes import QueryOutcomes, estimate_gain
from compodiff.params import Params
from compodiff.storage.atomic import replace_path
from compodiff.storage.ownership import PAGE, make_signature, require_replaceable_file
from compodiff.tracking.figures import read_outcomes
from compodiff.tracking.gate import Model, list_objections
from compodiff.tracking.registry import (
    CHALLENGER,
    CHAMPION,
    MODEL,
    PREVIOUS,
    RegisteredVersion,
    find_version,
    find_version_at,
)
from compodiff.tracking.store import Store, open_store
from compodiff.tracking.version_files import find_numbered

_LEVEL = 0.95
_LINKS = 3  # queries of a relation that lead into the page
_SERVED = "http://127.0.0.1:8000/"  # where `compodiff serve` answers
_STYLE = """
:root { color-scheme: light dark; }
body { margin: 2rem auto; max-width: 72rem; padding: 0 1rem; font: 15px/1.45 system-ui, sans-serif; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; margin: .6rem 0; }
th, td { padding: .3rem 1rem .3rem 0; text-align: right; border-bottom: 1px solid #8884; white-space: nowrap; }
th:first-child, td:first-child, td:last-child { text-align: left; }
td:last-child { white-space: normal; font-size: .85rem; }
.better { color: light-dark(#17693f, #6ee7a8); } .worse { color: light-dark(#a61e34, #fca5a5); }
small { color: light-dark(#5a5e6e, #a4a9ba); } a { color: light-dark(#4338ca, #a5b4fc); }
"""


@dataclass(frozen=True)
class Contest:
    """Two versions on one benchmark.

    Attributes:
        name: of the benchmark.
        figures: metric -> challenger's, champion's, and the interval of the difference, query by query, where both
            answered the same.
        relations: relation -> queries, challenger's and champion's figure.
        figure: that the relations are compared by.
        links: relation -> addresses of some of its queries on the page, with their words.
    """

    name: str
    figures: Mapping[str, tuple[float, float, tuple[float, float] | None]]
    relations: Mapping[str, tuple[int, float, float]]
    figure: str
    links: Mapping[str, Sequence[tuple[str, str]]]


def choose_versions(store: Store, challenger: str | None) -> tuple[RegisteredVersion, RegisteredVersion]:
    """Return a challenger and the champion; of a challenger that is champion already, the champion before.

    Raises:
        InputInvalid: there is no such version, or there are no two to compare.
        ResourceUnavailable: MLflow cannot be reached.
    """
    if challenger and find_numbered(store, challenger) is None:
        raise InputInvalid(f"no version of {MODEL} is {challenger}; name the number of one, or leave it out")
    new = find_version(store, challenger) if challenger else find_version_at(store, CHALLENGER)
    champions = (find_version_at(store, alias) for alias in (CHAMPION, PREVIOUS))
    old = next((each for each in champions if each and new and each.number != new.number), None)
    if new is None or old is None:
        raise InputInvalid(f"{MODEL} has no two versions to compare; a champion and a challenger come from: make run")
    return new, old


def compare_versions(project: Path, params: Params, challenger: str | None, html: Path | None) -> list[Contest]:
    """Compare a challenger with the champion on every benchmark that both were measured on, and write a page of it.

    Raises:
        InputInvalid: there are no two versions, or the page would replace a file that is not ours.
        ResourceUnavailable: MLflow cannot be reached.
    """
    require_replaceable_file(html, PAGE)
    store = open_store(project)
    new, old = choose_versions(store, challenger)
    names = sorted({name.split("/")[0] for name in new.figures if "/composed/" in name})
    outcomes = [read_outcomes(store, version, names) for version in (new, old)]
    contests = [
        _contest(name, new.figures, old.figures, outcomes, _list_links(project, params, name)) for name in names
    ]
    contests = [contest for contest in contests if contest.figures]
    if html is not None:
        challenged, champion = (Model(each.figures, of) for each, of in zip((new, old), outcomes, strict=True))
        least = params.evaluation.min_relation_queries
        objections = list_objections(challenged, champion, params.gates, min_relation_queries=least)
        with replace_path(html, PAGE) as temporary:
            temporary.write_text(_render(new.number, old.number, contests, objections), encoding="utf-8")
    return contests


def _contest(
    name: str,
    new: Mapping[str, float],
    old: Mapping[str, float],
    outcomes: Sequence[Mapping[str, QueryOutcomes]],
    links: Mapping[str, Sequence[tuple[str, str]]],
) -> Contest:
    start = f"{name}/composed/"
    both = [each.removeprefix(start) for each in new if each.startswith(start) and each in old]
    metrics = [each for each in both if "/" not in each]
    figures = {
        metric: (new[start + metric], old[start + metric], _estimate(name, metric, outcomes)) for metric in metrics
    }
    figure = "recall_at_10" if "recall_at_10" in metrics else (metrics[0] if metrics else "")
    related = [each.split("/")[1] for each in both if each.startswith("relations/") and each.endswith(f"/{figure}")]
    relations = {}
    for relation in related:
        path = f"{start}relations/{relation}/"
        relations[relation] = (int(new.get(f"{path}queries", 0)), new[path + figure], old[path + figure])
    return Contest(name, figures, relations, figure, links)


def _estimate(name: str, metric: str, outcomes: Sequence[Mapping[str, QueryOutcomes]]) -> tuple[float, float] | None:
    new, old = (of.get(name) for of in outcomes)
    return None if new is None or old is None else estimate_gain(new, old, metric, level=_LEVEL)


def _list_links(project: Path, params: Params, name: str) -> dict[str, list[tuple[str, str]]]:
    """List some queries of each relation as addresses of the page; of other galleries than the served one, none."""
    folder = project / "artifacts" / "benchmarks" / name
    if name != params.index.gallery or not folder.is_dir():
        return {}
    assembled = open_assembled(folder)
    links: dict[str, list[tuple[str, str]]] = {}
    for query in assembled.load(assembled.split)[0].queries:
        asked = urlencode({"reference_id": query.references, "text": query.relative_caption}, doseq=True)
        for group in query.groups:
            if len(links.setdefault(group, [])) < _LINKS:
                links[group].append((f"{_SERVED}#{asked}", query.relative_caption))
    return links


def _render(new: str, old: str, contests: Sequence[Contest], objections: Sequence[str]) -> str:
    against = "".join(f"<li>{escape(each)}</li>" for each in objections)
    verdict = f"<p>The gate objects:</p><ul>{against}</ul>" if objections else "<p>The gate does not object.</p>"
    return (
        f"<!doctype html><html lang=en><head><meta charset=utf-8><title>{MODEL} {new} against {old}</title>"
        f"<meta name=generator content={make_signature(PAGE)}>"
        f"<meta name=viewport content='width=device-width, initial-scale=1'><style>{_STYLE}</style></head><body><main>"
        f"<h1>Challenger {new} against champion {old}</h1>{verdict}"
        "<p><small>Per cent. Brackets: 95 % interval of the difference, query by query. Queries lead into the page, "
        f"while `compodiff serve` runs.</small></p>{''.join(map(_render_contest, contests))}</main></body></html>\n"
    )


def _render_contest(contest: Contest) -> str:
    rows = "".join(
        f"<tr><td>{metric.replace('_', ' ')}{_render_pair(one, other)}<td>{_render_interval(interval)}</tr>"
        for metric, (one, other, interval) in contest.figures.items()
    )
    head = "<th>challenger<th>champion<th>difference<th>"
    ordered = sorted(contest.relations.items(), key=lambda item: item[1][1] - item[1][2])
    relations = "".join(
        f"<tr><td>{escape(name.replace('_', ' '))} <small>{queries}</small>{_render_pair(one, other)}"
        f"<td>{', '.join(_render_links(contest.links.get(name, ())))}</tr>"
        for name, (queries, one, other) in ordered
    )
    by = f"relations, {contest.figure.replace('_', ' ')}"
    table = f"<div class=wide><table><tr><th>{by}{head}</tr>{relations}</table></div>" if relations else ""
    first = f"<div class=wide><table><tr><th>all queries{head}</tr>{rows}</table></div>"
    return f"<h2>{escape(contest.name)}</h2>{first}{table}"


def _render_pair(one: float, other: float) -> str:
    change = "better" if one > other else "worse" if one < other else "same"
    return f"<td>{100 * one:.1f}<td>{100 * other:.1f}<td class={change}>{100 * (one - other):+.1f}"


def _render_interval(interval: tuple[float, float] | None) -> str:
    return "" if interval is None else f"[{100 * interval[0]:+.1f}, {100 * interval[1]:+.1f}]"


def _render_links(links: Sequence[tuple[str, str]]) -> Iterator[str]:
    for address, words in links:
        yield f'<a href="{escape(address)}">{escape(words)}</a>'


def list_rows(contests: Sequence[Contest]) -> list[tuple[Any, ...]]:
    """Return benchmark, metric, challenger, champion and the difference as rows of text."""
    return [
        (
            contest.name,
            metric.replace("_", " "),
            f"{100 * one:.1f}",
            f"{100 * other:.1f}",
            f"{100 * (one - other):+.1f} {_render_interval(interval)}".rstrip(),
        )
        for contest in contests
        for metric, (one, other, interval) in contest.figures.items()
    ]
