"""The model card: what a model is, what was measured on what, its dials, its parts, and whose all of it is."""

from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

import yaml

from compodiff.publishing.model_facts import ModelFacts

_COMPOSED = "composed"


def render_card(facts: ModelFacts) -> str:
    """Return the card as Markdown, with front matter of the Hugging Face hub."""
    sections = [
        f"---\n{yaml.safe_dump(_make_front(facts), sort_keys=False, allow_unicode=True)}---\n\n# {facts.name}",
        "Composed image retrieval by latent diffusion ([arXiv 2303.11916](https://arxiv.org/abs/2303.11916)): of a "
        "picture and a change in words it makes an embedding, and the pictures near it are the answers. Made by "
        f"CompoDiff {version('compodiff')}.",
        f"## Use\n\n{_render_use(facts)}",
        f"## Figures\n\n{_render_figures(facts)}",
        "## Dials\n\nWhat a query that says nothing else is answered with:\n\n"
        + _render_table(("dial", "value"), sorted(facts.dials.items())),
        f"## Parts\n\n{_render_parts(facts)}",
        f"## Sources and licences\n\n{_render_licences(facts)}",
    ]
    return "\n\n".join(sections) + "\n"


def _make_front(facts: ModelFacts) -> dict[str, Any]:
    front: dict[str, Any] = {
        "license": facts.licence,
        "language": ["en"],
        "library_name": "compodiff",
        "pipeline_tag": "image-feature-extraction",
        "tags": ["composed-image-retrieval", "latent-diffusion"],
    }
    if base := [model.hub_id for model in facts.encoder if model.hub_id]:
        front["base_model"] = base
    results = [
        {
            "task": {"type": "composed-image-retrieval"},
            "dataset": {"name": name, "type": name, "split": content["record"].get("split", "test")},
            "metrics": [
                {"type": metric, "value": value} for metric, value in _list_numbers(content.get(_COMPOSED, {})).items()
            ],
        }
        for name, content in facts.figures.items()
    ]
    if results:
        front["model-index"] = [{"name": facts.name, "results": results}]
    return front


def _render_use(facts: ModelFacts) -> str:
    commands = (
        f"compodiff get {facts.name}",
        f"compodiff index build ~/Pictures --model {facts.name}",
        f'compodiff search --model {facts.name} --index ~/Pictures --reference cat.jpg --text "sleeping"',
    )
    return "```\n" + "\n".join(commands) + "\n```"


def _render_figures(facts: ModelFacts) -> str:
    if not facts.figures:
        return "Nothing was measured with these weights."
    return "\n\n".join(_render_benchmark(name, content) for name, content in facts.figures.items())


def _render_benchmark(name: str, content: Mapping[str, Any]) -> str:
    record = content["record"]
    rows = {method: row for method, row in content.items() if method != "record"}
    metrics = sorted({metric for row in rows.values() for metric in _list_numbers(row)}, key=_order)
    told = [
        f"{record[key]:,} {what}" for key, what in (("queries", "queries"), ("gallery", "pictures")) if key in record
    ]
    if "split" in record:
        told.append(f"split {record['split']}")
    cells = [(method, *(_render_figure(row, metric) for metric in metrics)) for method, row in rows.items()]
    about = f"**{name}**: {', '.join(told)}. Intervals: 95 %, bootstrapped over queries.\n\n"
    return about + _render_table(("", *(metric.replace("_", " ") for metric in metrics)), cells)


def _render_figure(row: Mapping[str, Any], metric: str) -> str:
    if metric not in row:
        return ""
    ends = row.get("intervals", {}).get(metric)
    return f"{row[metric]:.3f}" + (f" ({ends[0]:.3f} to {ends[1]:.3f})" if ends else "")


def _render_parts(facts: ModelFacts) -> str:
    shape = facts.card.denoiser
    own = f"{shape.network} of {shape.depth} blocks, width {shape.width}, over embeddings of {shape.embedding_dim}"
    rows = [(own, "here, `composed/`", f"`{facts.digest}`")]
    for model in facts.encoder:
        where = f"at the hub, `{model.hub_id}`" if model.hub_id else "here, `encoder/`"
        rows.append((f"encoder {model.name}", where, f"`{model.digest}`"))
    return _render_table(("part", "where", "sha256 of the weights"), rows)


def _render_licences(facts: ModelFacts) -> str:
    rows = [("these weights", facts.licence)]
    rows += [(f"encoder {model.name}", model.licence) for model in facts.encoder]
    rows += [(f"learned from the set {name}", licence) for name, licence in facts.sources.items()]
    return _render_table(("what", "licence"), rows)


def _render_table(columns: tuple[str, ...], rows: Any) -> str:
    lines = [f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
    lines += [f"| {' | '.join(_escape(cell) for cell in row)} |" for row in rows]
    return "\n".join(lines)


def _escape(cell: Any) -> str:
    return str(cell).replace("|", "\\|").replace("\n", " ")


def _list_numbers(row: Mapping[str, Any]) -> dict[str, float]:
    return {
        name: value for name, value in row.items() if isinstance(value, int | float) and not isinstance(value, bool)
    }


def _order(metric: str) -> tuple[str, int]:
    """Return the order of columns: recall_at_5 before recall_at_10."""
    stem, _, number = metric.rpartition("_")
    return (stem, int(number)) if number.isdigit() else (metric, 0)
