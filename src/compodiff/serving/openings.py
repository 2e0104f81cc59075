"""What the page offers before anything is asked: worked examples, changes that fit a picture, pictures that differ.

The gallery of a benchmark has its validation queries beside it. Those that the served model gets right are examples;
what their captions change is what one may ask of pictures near their references.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import cast
from weakref import WeakKeyDictionary, ref

import numpy as np
from numpy.typing import NDArray

from compodiff.benchmarks.datasets.assembled import DESCRIPTION, open_assembled
from compodiff.benchmarks.datasets.benchmark import BenchmarkQuery
from compodiff.benchmarks.datasets.pictures import strip_suffix
from compodiff.index.index import Index
from compodiff.search.query import Query
from compodiff.search.ranking import Ranking
from compodiff.serving.champion import ServedModel

ANYWHERE = ("in red", "in blue", "in green", "in black")  # colours are what the default model knows best of photographs
_EXAMPLES, _PICTURES, _CHANGES = 8, 26, 8
_TRIED = 80  # queries, until there are enough examples
_NEIGHBOURS, _LEAST_NEAR = 400, 0.5  # references whose changes are looked at, and the least cosine of theirs
_SHORT, _LONGEST = 24, 36  # characters: of captions that are tried first, and of those that are offered
_SAMPLE, _ROUNDS = 4_000, 8  # of k-means over the index
_MOST_OF_A_KIND = 3
_UNSAID = frozenset(("path", "split"))  # columns that no text changes

Ask = Callable[[ServedModel, Query], Awaitable[Ranking]]


@dataclass(frozen=True)
class Example:
    """A query that the model gets right, and the picture that it finds: rows of the index."""

    reference: int
    text: str
    answer: int


class Openings:
    """The offers of what is served; made when first asked for, and anew for another model or index."""

    def __init__(self, ask: Ask) -> None:
        """Try examples by `ask`."""
        self._ask = ask
        self._alone = asyncio.Lock()
        self._made: tuple[ref[ServedModel], tuple[list[Example], list[int]]] | None = None

    async def find(self, live: ServedModel) -> tuple[list[Example], list[int]]:
        """Return worked examples, and rows of pictures that differ from each other."""
        async with self._alone:
            if self._made is None or self._made[0]() is not live:
                index = live.searcher.index
                places = await asyncio.to_thread(choose_different, index.sample_vectors(), _PICTURES)
                sampled = index.list_rows()  # the vectors are of the first of these
                rows = [int(sampled[place]) for place in places]
                self._made = ref(live), (await self._try_queries(live), rows)
        return self._made[1]

    async def _try_queries(self, live: ServedModel) -> list[Example]:
        """Ask one query after the other until enough were answered rightly, no concept twice."""
        row = live.searcher.index.row
        queries = await asyncio.to_thread(read_queries, live)
        examples: list[Example] = []
        concepts: set[str] = set()
        for query in islice(_take_turns(queries), _TRIED):
            if query.concept in concepts:
                continue
            answer = await self._ask(live, Query(query.reference, query.relative_caption, k=1))
            if answer.hits and answer.hits[0].picture_id in query.targets:
                concepts.add(query.concept)
                found = row[answer.hits[0].picture_id]
                examples.append(Example(row[query.reference], query.relative_caption, found))
            if len(examples) == _EXAMPLES:
                break
        return examples


_QUERIES: WeakKeyDictionary[Index, tuple[BenchmarkQuery, ...]] = WeakKeyDictionary()  # of indexes that are served


def read_queries(live: ServedModel) -> Sequence[BenchmarkQuery]:
    """Return the validation queries over what is served; none over a folder of someone's own."""
    root, index = live.searcher.pictures.root, live.searcher.index
    if not (root.parent / DESCRIPTION).is_file():
        return ()
    if index not in _QUERIES:
        benchmark = open_assembled(root.parent)
        parts = benchmark.load(benchmark.validation or benchmark.split)
        ids = {strip_suffix(each): each for each in index.picture_ids}  # a gallery of files is indexed by their names
        named = (_rename(query, ids) for part in parts for query in part.queries)
        queries = [query for query in named if query.reference in index.row]
        _QUERIES[index] = tuple(query for query in queries if _find_target(query, index) is not None)
    return _QUERIES[index]


def _rename(query: BenchmarkQuery, ids: Mapping[str, str]) -> BenchmarkQuery:
    """Return a query with the ids of an index."""
    targets = tuple(ids.get(each, each) for each in query.targets)
    return replace(query, reference=ids.get(query.reference, query.reference), targets=targets)


def _find_target(query: BenchmarkQuery, index: Index) -> int | None:
    return next((index.row[target] for target in query.targets if target in index.row), None)


def _take_turns(queries: Sequence[BenchmarkQuery]) -> Iterator[BenchmarkQuery]:
    """Yield queries of every kind in turn, spread over each kind, short captions first."""
    kinds: dict[tuple[str, ...], list[BenchmarkQuery]] = {}
    for query in queries:
        kinds.setdefault(query.groups, []).append(query)
    generator = np.random.default_rng(0)
    order = {kind: generator.permutation(len(members)) for kind, members in sorted(kinds.items())}
    ranked = {
        kind: sorted((members[place] for place in order[kind]), key=lambda query: len(query.relative_caption) > _SHORT)
        for kind, members in kinds.items()
    }
    for place in range(max(map(len, ranked.values()), default=0)):
        yield from (members[place] for _, members in sorted(ranked.items()) if place < len(members))


def list_changes(live: ServedModel, picture_id: str) -> list[str]:
    """Return changes that fit a picture: those that were asked of the references nearest to it.

    One of each outcome (a value of a column that the change sets), and only from the value that the picture has.
    """
    index, queries = live.searcher.index, read_queries(live)
    if not queries or picture_id not in index.row:
        return list(ANYWHERE)
    table, own = live.metadata, live.metadata.read_rows([index.row[picture_id]])[0]
    changes: dict[tuple[str, object], str] = {}
    kinds: dict[str, int] = {}
    for query in _list_nearest(index, queries, index.row[picture_id]):
        rows = index.row[query.reference], cast(int, _find_target(query, index))
        before, after = table.read_rows(rows)
        changed = [name for name in after if name not in _UNSAID and after[name] != before[name]]
        name = changed[0] if len(changed) == 1 else "|".join(query.groups)
        outcome = name, after.get(name, query.relative_caption)
        fits = own.get(name) == before.get(name) and len(query.relative_caption) <= _LONGEST
        if fits and outcome in changes:
            changes[outcome] = min(changes[outcome], query.relative_caption, key=len)
        elif fits and len(changes) < _CHANGES and kinds.get(name, 0) < _MOST_OF_A_KIND:
            kinds[name] = kinds.get(name, 0) + 1
            changes[outcome] = query.relative_caption
    return list(changes.values())


def _list_nearest(index: Index, queries: Sequence[BenchmarkQuery], row: int) -> list[BenchmarkQuery]:
    """Return queries whose references are nearest to the picture in `row`, nearest first."""
    rows = np.array([index.row[query.reference] for query in queries])
    near = _normalise(index.embeddings[rows]) @ _normalise(index.embeddings[row : row + 1])[0]  # (Q, D) @ (D,) -> (Q,)
    order = np.argsort(-near, kind="stable")[:_NEIGHBOURS]
    return [queries[place] for place in order if near[place] >= _LEAST_NEAR]


def choose_different(embeddings: NDArray[np.float32], count: int) -> list[int]:
    """Return rows of `count` pictures that differ: those in the middle of the clusters of k-means.

    Args:
        embeddings: (N, D) of the index.
        count: clusters; fewer pictures than that are all returned.
    """
    if len(embeddings) <= count:
        return list(range(len(embeddings)))
    generator = np.random.default_rng(0)
    sample = np.sort(generator.choice(len(embeddings), min(_SAMPLE, len(embeddings)), replace=False))
    units = _normalise(embeddings[sample])  # (S, D)
    centres = units[generator.choice(len(units), count, replace=False)]  # (C, D)
    for _ in range(_ROUNDS):
        nearest = (units @ centres.T).argmax(1)  # (S,)
        sums = np.stack([units[nearest == centre].sum(0) for centre in range(count)])
        centres = np.where(np.linalg.norm(sums, axis=1, keepdims=True) > 0, _normalise(sums), centres)
    return [int(row) for row in dict.fromkeys(sample[(units @ centres.T).argmax(0)].tolist())]


def _normalise(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return vectors (N, D) of length 1; zeros stay."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.where(lengths > 0, lengths, 1), dtype=np.float32)
