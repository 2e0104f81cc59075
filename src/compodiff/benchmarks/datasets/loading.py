"""Which benchmarks there are by name, and how each is loaded."""

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from functools import partial
from pathlib import Path

from compodiff.benchmarks.datasets import circo, cirr, fashioniq, genecis, icir, mbeir, own, pinpoint
from compodiff.benchmarks.datasets.benchmark import Benchmark
from compodiff.errors import InputInvalid


@dataclass(frozen=True)
class BenchmarkChoices:
    """What a user may choose about a benchmark; None takes the benchmark's own default.

    Attributes:
        category: one part alone: FashionIQ's category, a data set of M-BEIR or CIRCUS, an instance of i-CIR.
        gallery_variant: FashionIQ's original or val.
        template: the text template of all but FashionIQ.
        caption_order: FashionIQ's both or first.
    """

    category: str | None = None
    gallery_variant: str | None = None
    template: str | None = None
    caption_order: str | None = None


@dataclass(frozen=True)
class BenchmarkEntry:
    """A benchmark by name.

    Attributes:
        splits: those it has; empty: any name (triplets).
        default_split: what is run where the user names none.
        shorten_id: turns a picture's id as users write it into the benchmark's.
        load: root, split and choices to parts.
        options: the fields of `BenchmarkChoices` that apply.
    """

    splits: tuple[str, ...]
    default_split: str
    shorten_id: Callable[[str], str]
    load: Callable[[Path, str, BenchmarkChoices], list[Benchmark]]
    options: tuple[str, ...] = ("template",)


def load_benchmark(name: str, root: Path, split: str | None, choices: BenchmarkChoices) -> list[Benchmark]:
    """Load the parts of benchmark `name` from the user's folder.

    Raises:
        InputInvalid: no such benchmark, split or choice, or an annotation file is missing or broken.
    """
    entry = find_entry(name)
    split = split or entry.default_split
    if entry.splits and split not in entry.splits:
        raise InputInvalid(f"{name} has no split {split!r}; choose from: {', '.join(entry.splits)}")
    for field in fields(choices):
        if getattr(choices, field.name) is not None and field.name not in entry.options:
            raise InputInvalid(f"--{field.name.replace('_', '-')} does not apply to {name}; leave it out")
    return entry.load(root, split, choices)


def find_entry(name: str) -> BenchmarkEntry:
    """Return the entry of benchmark `name`.

    Raises:
        InputInvalid: there is none.
    """
    if name not in ENTRIES:
        raise InputInvalid(f"there is no benchmark {name!r}; choose from: {', '.join(ENTRIES)}")
    return ENTRIES[name]


def _load_cirr(root: Path, split: str, choices: BenchmarkChoices) -> list[Benchmark]:
    return cirr.load_cirr(root, split, template=choices.template or cirr.TEMPLATE)


def _load_circo(root: Path, split: str, choices: BenchmarkChoices) -> list[Benchmark]:
    return circo.load_circo(root, split, template=choices.template or circo.TEMPLATE)


def _load_fashioniq(root: Path, split: str, choices: BenchmarkChoices) -> list[Benchmark]:
    return fashioniq.load_fashioniq(
        root,
        split,
        category=choices.category,
        variant=choices.gallery_variant or fashioniq.VARIANTS[0],
        order=choices.caption_order or fashioniq.ORDERS[0],
    )


def _load_genecis(task: str, root: Path, _split: str, choices: BenchmarkChoices) -> list[Benchmark]:
    return genecis.load_genecis(root, task, template=choices.template or genecis.TEMPLATE)


def _load_all_genecis(root: Path, split: str, choices: BenchmarkChoices) -> list[Benchmark]:
    tasks = [_load_genecis(task, root, split, choices)[0] for task in genecis.TASKS]
    return [replace(benchmark, name="genecis", part=task) for benchmark, task in zip(tasks, genecis.TASKS, strict=True)]


def _load_triplets(root: Path, split: str, choices: BenchmarkChoices) -> list[Benchmark]:
    return own.load_triplets(root, split, template=choices.template or own.TEMPLATE)


def _load_pinpoint(root: Path, split: str, choices: BenchmarkChoices) -> list[Benchmark]:
    return pinpoint.load_pinpoint(root, split, template=choices.template or pinpoint.TEMPLATE)


def _load_icir(root: Path, split: str, choices: BenchmarkChoices) -> list[Benchmark]:
    return icir.load_icir(root, split, instance=choices.category, template=choices.template or icir.TEMPLATE)


def _load_mbeir(root: Path, split: str, choices: BenchmarkChoices) -> list[Benchmark]:
    return mbeir.load_mbeir(root, split, dataset=choices.category, template=choices.template or mbeir.TEMPLATE)


def _load_circus(root: Path, split: str, choices: BenchmarkChoices) -> list[Benchmark]:
    return mbeir.load_circus(root, split, dataset=choices.category, template=choices.template or mbeir.TEMPLATE)


_OF_PARTS = ("category", "template")
ENTRIES = {
    "cirr": BenchmarkEntry(cirr.SPLITS, "val", cirr.shorten_id, _load_cirr),
    "fashioniq": BenchmarkEntry(
        fashioniq.SPLITS,
        "val",
        fashioniq.shorten_id,
        _load_fashioniq,
        options=("category", "gallery_variant", "caption_order"),
    ),
    "circo": BenchmarkEntry(circo.SPLITS, "val", circo.shorten_id, _load_circo),
    **{
        f"genecis-{task}": BenchmarkEntry(genecis.SPLITS, "val", genecis.shorten_id, partial(_load_genecis, task))
        for task in genecis.TASKS
    },
    "genecis": BenchmarkEntry(genecis.SPLITS, "val", genecis.shorten_id, _load_all_genecis),
    "pinpoint": BenchmarkEntry(pinpoint.SPLITS, "test", pinpoint.shorten_id, _load_pinpoint),
    "icir": BenchmarkEntry(icir.SPLITS, "test", icir.shorten_id, _load_icir, _OF_PARTS),
    "mbeir": BenchmarkEntry(mbeir.SPLITS, "test", mbeir.shorten_id, _load_mbeir, _OF_PARTS),
    "circus": BenchmarkEntry(tuple(mbeir.CIRCUS_SPLITS), "validated", mbeir.shorten_id, _load_circus, _OF_PARTS),
    "triplets": BenchmarkEntry((), "test", own.shorten_id, _load_triplets),
}
