"""Find what is to be left out of a set, and why: pictures of a benchmark, near-duplicates, and what a survey says.

What is in memory does not grow with the set but by a byte a row. Shapes: T rows, E pictures of a row, D embedding
width, L bytes of a look.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from compodiff.cleaning.gallery import BenchmarkGallery
from compodiff.cleaning.ordering import NO_TWIN, Finding, open_rows
from compodiff.cleaning.survey import Survey
from compodiff.errors import InputInvalid
from compodiff.images.looks import Looks, look_the_same

NEAR_DUPLICATE, CONTAMINATED = "near_duplicate", "contaminated"
_AT_ONCE = 1024  # rows whose facts are in memory
Facts = tuple[NDArray[np.float32], Looks]  # embeddings (T, E, D), looks (T, E, L)


@dataclass(frozen=True)
class CleaningRules:
    """What is left out.

    Attributes:
        near_duplicate: cosine from which pictures that look alike are near-duplicates. A row is one of another if all
            of its pictures are, and it asks for the same.
        any_caption: near-duplicates need not ask for the same; compares every row with every other.
        contaminated: cosine from which a picture is one of a benchmark's.
    """

    near_duplicate: float
    any_caption: bool
    contaminated: float


def find(
    survey: Survey, gallery: BenchmarkGallery, rules: CleaningRules, to: Path
) -> tuple[NDArray[np.bool_], dict[str, int]]:
    """Write what is to be left out and why: columns key, rejected_by, picture (a column of the rows), match, cosine.

    Args:
        survey: of the set.
        gallery: a benchmark's pictures.
        rules: what is left out.
        to: file of the table.

    Returns:
        Which rows (T,) are left out, and for each reason how many have it.

    Raises:
        InputInvalid: a key stands there twice.
    """
    left_out = np.zeros(survey.count, np.bool_)
    with open_rows(survey.list_tables(), survey.ends) as rows:
        if (key := rows.find_repeated_key()) is not None:
            raise InputInvalid(f"the set has the key {key!r} twice; rename one")

        def find_all() -> Iterator[Finding]:
            yield from rows.iterate_lost()
            yield from _find_contaminated(survey, gallery, rules.contaminated)
            groups = (group[~left_out[group]] for group in rows.iterate_groups(any_caption=rules.any_caption))
            yield from _find_near_duplicates(survey, groups, rules.near_duplicate)

        def mark(findings: Iterable[Finding]) -> Iterator[Finding]:
            for finding in findings:
                left_out[finding[0]] = True
                yield finding

        counts = rows.name_findings(mark(find_all()), to)
    return left_out, counts


def _find_contaminated(survey: Survey, gallery: BenchmarkGallery, least: float) -> Iterator[Finding]:
    """Yield pictures that a benchmark has, each with the one it is nearest to."""
    first = 0
    for shard in survey.read_by_shard() if gallery.names else ():
        unit = shard.astype(np.float32).reshape(-1, shard.shape[-1])
        nearest, match = np.full(len(unit), -np.inf, np.float32), np.zeros(len(unit), np.int64)
        for start in range(0, len(gallery.names), _AT_ONCE):
            cosines = unit @ gallery.embeddings[start : start + _AT_ONCE].astype(np.float32).T
            here, value = cosines.argmax(axis=1), cosines.max(axis=1)
            nearer = value > nearest
            nearest[nearer], match[nearer] = value[nearer], start + here[nearer]
        for place in np.flatnonzero(nearest >= least):
            row, end = divmod(int(place), len(survey.ends))
            name = gallery.names[match[place]]
            yield first + row, CONTAMINATED, survey.ends[end], NO_TWIN, name, float(nearest[place])
        first += len(shard)


def _find_near_duplicates(survey: Survey, groups: Iterable[NDArray[np.int64]], least: float) -> Iterator[Finding]:
    """Yield of each group those that are near-duplicates of one that is kept; small groups are read together."""
    held, count = list[NDArray[np.int64]](), 0
    with tqdm(desc="comparing", unit=" rows", disable=None) as bar:
        for group in groups:
            bar.update(len(group))
            if len(group) > _AT_ONCE:
                yield from _compare_by_chunks(survey, group, least)
            elif len(group) > 1:
                held.append(group)
                count += len(group)
            if count >= _AT_ONCE:
                yield from _compare_together(survey, held, least)
                held, count = [], 0
    yield from _compare_together(survey, held, least)


def _compare_together(survey: Survey, groups: list[NDArray[np.int64]], least: float) -> Iterator[Finding]:
    """Yield the near-duplicates of groups whose facts are read at once."""
    if not groups:
        return
    embeddings, looks = _read(survey, np.concatenate(groups))
    start = 0
    for group in groups:
        own = slice(start, start + len(group))
        start += len(group)
        for place, (other, cosine) in sorted(_find_twins((embeddings[own], looks[own]), least).items()):
            yield _report_twin(survey, group[place], group[other], cosine)


def _compare_by_chunks(survey: Survey, rows: NDArray[np.int64], least: float) -> Iterator[Finding]:
    """Yield the near-duplicates of one group, of which a chunk is compared with all that was kept before it."""
    kept = np.empty(0, np.int64)
    for start in range(0, len(rows), _AT_ONCE):
        chunk = rows[start : start + _AT_ONCE]
        this = _read(survey, chunk)
        twin_of = dict[int, tuple[int, float]]()  # place in the chunk -> row and cosine
        for first in range(0, len(kept), _AT_ONCE):
            others = kept[first : first + _AT_ONCE]
            for place, other, cosine in _find_near(this, _read(survey, others), least):
                twin_of.setdefault(place, (int(others[other]), cosine))
        within = _find_twins(this, least, frozenset(twin_of))
        twin_of |= {place: (int(chunk[other]), cosine) for place, (other, cosine) in within.items()}
        for place, (row, cosine) in sorted(twin_of.items()):
            yield _report_twin(survey, chunk[place], row, cosine)
        kept = np.concatenate([kept, np.delete(chunk, list(twin_of))])


def _report_twin(survey: Survey, row: int, twin: int, cosine: float) -> Finding:
    picture = "both" if len(survey.ends) > 1 else survey.ends[0]
    return int(row), NEAR_DUPLICATE, picture, int(twin), "", cosine


def _read(survey: Survey, rows: NDArray[np.int64]) -> Facts:
    return survey.read_embeddings(rows), survey.read_looks(rows)


def _find_twins(these: Facts, least: float, gone: frozenset[int] = frozenset()) -> dict[int, tuple[int, float]]:
    """Return the places of near-duplicates of an earlier one that is kept, with its place and the cosine."""
    twin_of = dict[int, tuple[int, float]]()
    for place, other, cosine in _find_near(these, these, least, are_earlier=True):
        if not {place, other} & (twin_of.keys() | gone):
            twin_of[place] = other, cosine
    return twin_of


def _find_near(
    ones: Facts, others: Facts, least: float, *, are_earlier: bool = False
) -> Iterator[tuple[int, int, float]]:
    """Yield places of two rows of which each picture is a near-duplicate of the other's; ascending.

    Where the others are the same rows, `are_earlier` compares each with those before it alone.

    Near embeddings are a hint only: two clock faces have near ones, but do not look the same.
    """
    ends = range(ones[0].shape[1])
    cosines = np.min([ones[0][:, end] @ others[0][:, end].T for end in ends], axis=0)
    pairs = np.argwhere(np.tril(cosines >= least, -1) if are_earlier else cosines >= least)
    for end in ends:
        pairs = pairs[look_the_same(ones[1][:, end], others[1][:, end], pairs)]
    for one, other in pairs.tolist():
        yield one, other, float(cosines[one, other])
