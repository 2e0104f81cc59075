"""Ask a model the cases, over the gallery of its own index, as a search does.

D dimensions of an embedding.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from compodiff.behaviour.cases import Case, DirectionCase, InvarianceCase, MinimumCase
from compodiff.errors import InputInvalid
from compodiff.search.query import Query
from compodiff.search.searcher import Searcher


@dataclass(frozen=True)
class CaseOutcome:
    """What came of one case.

    Attributes:
        name, kind: of the case.
        passed: whether the model behaved as it says.
        measured: what was seen, in words and numbers.
    """

    name: str
    kind: str
    passed: bool
    measured: str


def ask_cases(searcher: Searcher, cases: Sequence[Case]) -> list[CaseOutcome]:
    """Return the outcome of each case, in order; one that names a picture that the gallery lacks fails."""
    outcomes = []
    for case in cases:
        try:
            passed, measured = _ask(searcher, case)
        except InputInvalid as error:
            passed, measured = False, str(error)
        outcomes.append(CaseOutcome(case.name, case.kind, passed, measured))
    return outcomes


def _ask(searcher: Searcher, case: Case) -> tuple[bool, str]:
    if isinstance(case, MinimumCase):
        return _ask_minimum(searcher, case)
    if isinstance(case, InvarianceCase):
        return _ask_invariance(searcher, case)
    return _ask_direction(searcher, case)


def _ask_minimum(searcher: Searcher, case: MinimumCase) -> tuple[bool, str]:
    searcher.index.read_embedding(case.finds)  # raises where the gallery lacks it, so that it could never be found
    found = _find_ids(searcher, case.reference, case.text, case.k)
    if case.finds in found:
        return True, f"{case.finds} is answer {found.index(case.finds) + 1}"
    return False, f"{case.finds} is not among the first {case.k}; the first is {found[0] if found else 'none'}"


def _ask_invariance(searcher: Searcher, case: InvarianceCase) -> tuple[bool, str]:
    first, *others = (_find_ids(searcher, case.reference, text, case.k) for text in case.texts)
    shares = [len({*first} & {*other}) / max(len(first), len(other), 1) for other in others]
    least = min(shares)
    worst = case.texts[1 + shares.index(least)]
    return (
        least >= case.overlap,
        f"{least:.2f} of the first {case.k} are the same by {worst!r}, {case.overlap:.2f} asked",
    )


def _ask_direction(searcher: Searcher, case: DirectionCase) -> tuple[bool, str]:
    """Ask whether the answer lies nearer to `towards` than to `past`, and more so than the reference does.

    Cosines of an answer are lower than those of pictures, so that the two are compared within each.
    """
    past = case.past or case.reference
    answer = searcher.answer(Query(case.reference, case.text, k=1)).embedding
    reference, target, other = (searcher.index.read_embedding(each) for each in (case.reference, case.towards, past))
    before = _compute_cosine(reference, target) - _compute_cosine(reference, other)
    after = _compute_cosine(answer, target) - _compute_cosine(answer, other)
    measured = f"nearer to {case.towards} than to {past} by {after:+.3f} of cosine, the reference by {before:+.3f}"
    return after > max(before, 0.0), measured


def _find_ids(searcher: Searcher, reference: str, text: str, k: int) -> list[str]:
    return [hit.picture_id for hit in searcher.answer(Query(reference, text, k=k)).hits]


def _compute_cosine(one: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    """Return the cosine of two embeddings (D,)."""
    return float(one @ other / (np.linalg.norm(one) * np.linalg.norm(other)))
