"""What variants learn from: the sets of the project, a part of their examples, or with less of their texts."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import combinations
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from compodiff.embeddings import Embeddings, SetEmbeddings, TextTower
from compodiff.embeddings.set_arrays import REFERENCE, SCORED_TARGET
from compodiff.embeddings.token_arrays import TextTokens, TokenArrays, TokenTable
from compodiff.encoders import EncoderManifest
from compodiff.errors import InputInvalid
from compodiff.params import TaskShares
from compodiff.sets import PAIRS, open_set
from compodiff.training.examples import IMAGE, TARGET, TASKS, Mixture, Rows, SetExamples
from compodiff.training.mixture import describe_mixture
from compodiff.training.resume import digest

WHOLE, MEAN, POOLED = "token states", "mean of token states", "pooled embedding"
PROJECTION_SEED = 0
AnyPart = TypeVar("AnyPart")


@dataclass(frozen=True)
class TextView:
    """What of the texts a network sees.

    Attributes:
        form: WHOLE, MEAN or POOLED.
        parts: numbers of the text parts whose tokens it sees, ascending; none stands for all.
        name: in tables.
    """

    form: str = WHOLE
    parts: tuple[int, ...] = ()
    name: str = WHOLE

    def choose(self, of_parts: Sequence[AnyPart]) -> tuple[AnyPart, ...]:
        """Return what belongs to the text parts that are seen, of one thing for each text part."""
        return tuple(of_parts[number] for number in self.parts or range(len(of_parts)))

    def reduce(self, read: TextTokens, pooled: NDArray[np.floating]) -> TextTokens:
        """Return of the tokens of texts what is seen. pooled: (B, D) what a model learns of their embeddings."""
        return tuple(_reduce_tokens(own, pooled, self.form) for own in self.choose(read))


EVERYTHING = TextView()


def list_views(encoder: EncoderManifest) -> list[TextView]:
    """Return the views to compare: each text part, some, all; of all the mean alone; and the pooled embedding."""
    own = [part.name for part in encoder.texts]
    names = [name if own.count(name) == 1 else f"{name} ({number})" for number, name in enumerate(own, start=1)]
    some = [parts for size in range(1, len(names)) for parts in combinations(range(len(names)), size)]
    views = [TextView(WHOLE, parts, " + ".join(names[number] for number in parts)) for parts in some]
    everything = TextView(name=" + ".join(names)) if some else EVERYTHING
    pooled = [] if encoder.joint is None else [TextView(POOLED, name=POOLED)]
    return [*views, everything, TextView(MEAN, name=MEAN), *pooled]


@dataclass(frozen=True)
class VariantData:
    """What a variant learns from.

    Attributes:
        artifacts: of the project.
        sets: those that its trainings name, embedded.
        change: what is different from the project's own, for the names of trainings.
        texts: what of the texts is seen.
    """

    artifacts: Path
    sets: Mapping[str, SetExamples]
    change: str = "none"
    texts: TextView = EVERYTHING

    @classmethod
    def open(cls, artifacts: Path, names: list[str], texts: TextView = EVERYTHING) -> "VariantData":
        """Open the training splits of sets.

        Raises:
            InputInvalid: a set is not embedded.
        """
        tower = TextTower(artifacts / "encoder")
        sets = {
            name: SetExamples(
                name, ReducedTexts.load_reduced(artifacts / "embeddings" / name, texts, tower),
                artifacts / "validation" / name / "train",
            )
            for name in names
        }  # fmt: skip
        return cls(artifacts, sets, f"texts: {texts.name}", texts)

    def mix(self, tasks: TaskShares) -> Mixture:
        """Return what `tasks` draw from; a set of which nothing is left gives its share to the others.

        Raises:
            InputInvalid: nothing is left of any, or the project's sets do not fit the tasks.
        """
        described = describe_mixture(tasks, self.artifacts / "embeddings", self.artifacts / "validation")
        shares = divide_anew(tasks.by_task, self.sets)
        content = json.dumps([described, self.change, self.texts.name], sort_keys=True)
        return Mixture(tuple(self.sets[name] for name in tasks.sets), shares, digest([content.encode()]))

    def cut_triplets(self, fraction: float, seed: int) -> "VariantData":
        """Keep a fraction of each set's triplets: of a smaller fraction all are in a larger one."""
        sets = {}
        for name, own in self.sets.items():
            count = len(own.open_table("triplet"))
            order = np.random.default_rng(seed).permutation(count)
            kept = np.sort(order[: max(1, round(fraction * count))])
            sets[name] = SelectedExamples(own.name, own.embeddings, own.folder, {"triplet": kept})
        return replace(self, sets=sets, change=f"fraction of the triplets: {fraction}")

    def select_pictures(self, names: frozenset[str], change: str) -> "VariantData":
        """Keep the examples whose pictures have these names."""
        sets = {}
        for name, own in self.sets.items():
            has = _find_images(self.artifacts / "sets" / name, own.embeddings, names)
            tables = {task: own.open_table(task) for task in TASKS}
            kept = {task: np.flatnonzero(has[table[:, TARGET]]) for task, table in tables.items()}
            kept["triplet"] = kept["triplet"][has[tables["triplet"][kept["triplet"], IMAGE]]]
            sets[name] = SelectedExamples(own.name, own.embeddings, own.folder, kept)
        return replace(self, sets=sets, change=change)


@dataclass(frozen=True)
class SelectedExamples(SetExamples):
    """Some of the examples of a set.

    Attributes:
        kept: task -> rows of its table, ascending; a task that is not named has all.
    """

    kept: Mapping[str, Rows] = field(default_factory=dict)

    def open_table(self, task: str) -> Rows:
        """Return the rows of a task's table that are kept, (n, 4)."""
        table = super().open_table(task)
        return np.array(table[self.kept[task]]) if task in self.kept else table

    @cached_property
    def relation_starts(self) -> Rows:
        """(relations + 1,) where the triplets that are kept of each relation begin; a relation without any is gone."""
        starts = np.array(self._open_array("relation_starts"))
        return np.unique(np.searchsorted(self.kept["triplet"], starts)) if "triplet" in self.kept else starts

    @cached_property
    def negatives(self) -> Rows:
        """(n, H) wrong answers to each triplet that is kept."""
        negatives = self._open_array("negatives")
        return np.array(negatives[self.kept["triplet"]]) if "triplet" in self.kept else negatives


@dataclass(frozen=True)
class ReducedTexts(SetEmbeddings):
    """Embeddings of a set of whose texts less is seen."""

    texts: TextView = EVERYTHING

    @classmethod
    def load_reduced(cls, folder: Path, texts: TextView, tower: TextTower) -> "ReducedTexts":
        """Open the folder; `tower` computes token states where none are stored.

        Raises:
            InputInvalid: it holds no embeddings.
        """
        whole = SetEmbeddings.load(folder, tower=tower)
        return cls(whole.folder, whole.encoder, whole.manifest, tower, texts)

    def read_tokens(self, rows: ArrayLike) -> TextTokens:
        """Return what is seen of the texts' tokens."""
        pooled = self.texts_pooled[np.asarray(rows, np.int64), : self.encoder.learned_dim]
        return self.texts.reduce(super().read_tokens(rows), pooled)


def reduce_texts(embeddings: Embeddings, texts: TextView) -> Embeddings:
    """Return the embeddings of a benchmark of whose texts less is seen."""
    every = embeddings.read_tokens(np.arange(len(embeddings.text_row)))
    seen = texts.reduce(every, embeddings.texts_pooled[:, : embeddings.encoder.learned_dim])
    return replace(embeddings, text_tokens=tuple(map(TokenTable.of, seen)))


def _reduce_tokens(read: TokenArrays, pooled: NDArray[np.floating], form: str) -> TokenArrays:
    """Take the mean of each text's tokens, or its pooled embedding (B, D), as its only token; or leave them."""
    tokens, lengths = read
    if form == WHOLE or not len(lengths):
        return read
    if form == MEAN:
        starts = np.cumsum(lengths) - lengths
        one = np.add.reduceat(tokens.astype(np.float32), starts) / lengths[:, None]
    else:
        # The pooled embedding has another width than a token: a fixed random projection keeps its inner products.
        shape = pooled.shape[1], tokens.shape[1]
        one = pooled.astype(np.float32) @ np.random.default_rng(PROJECTION_SEED).normal(0, shape[1] ** -0.5, shape)
    return TokenArrays(one.astype(np.float16), np.ones(len(lengths), np.int64))


def divide_anew(
    shares: Mapping[str, Mapping[str, float]], sets: Mapping[str, SetExamples]
) -> dict[str, dict[str, float]]:
    """Divide a batch among the sets that have examples of a task; each task keeps its share as long as one has.

    Raises:
        InputInvalid: none has.
    """
    left = {
        task: {name: share for name, share in own.items() if len(sets[name].open_table(task))}
        for task, own in shares.items()
    }
    totals = {task: sum(shares[task].values()) for task, own in left.items() if own}
    if not totals:
        raise InputInvalid("no example is left to train on; choose other sets in params.yaml")
    scale = {task: total / sum(left[task].values()) / sum(totals.values()) for task, total in totals.items()}
    return {task: {name: share * scale[task] for name, share in own.items()} for task, own in left.items()}


def _find_images(folder: Path, embeddings: SetEmbeddings, names: frozenset[str]) -> NDArray[np.bool_]:
    """Find which images of a set's embeddings (N,) are pictures of these names; masked variants are not."""
    opened, scored = open_set(folder), embeddings.open_array("scored")
    ends = ("picture",) if opened.description.kind == PAIRS else ("reference", "target")
    found, start = np.zeros(len(embeddings.images), np.bool_), 0
    for shard in opened.description.shards:
        table = opened.read_rows(shard)
        for column, end in zip((REFERENCE, SCORED_TARGET), ends, strict=False):
            own = [name in names for name in table[end].combine_chunks().field("name").to_pylist()]
            found[scored[start : start + len(table), column][own]] = True
        start += len(table)
    return found
