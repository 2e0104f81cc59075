"""Cases of behaviour, asked of a real model of random weights, and what of them stands against a promotion."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import yaml

from compodiff import Searcher
from compodiff.behaviour.asking import CaseOutcome, ask_cases
from compodiff.behaviour.cases import DirectionCase, InvarianceCase, MinimumCase, read_cases
from compodiff.behaviour.gate import BehaviourGate, list_objections
from compodiff.errors import InputInvalid
from compodiff.search.query import Query
from compodiff.search.ranking import Ranking
from compodiff.tracking.registry import RegisteredVersion

ROOT = Path(__file__).parents[3]
RED, BLUE, GREEN = "twemoji-1F534", "twemoji-1F535", "twemoji-1F7E2"


@pytest.fixture(scope="module")
def searcher(search_project: Path) -> Searcher:
    with pytest.MonkeyPatch.context() as there:
        there.chdir(search_project)
        return Searcher.load("artifacts")


class KnownSearcher(Searcher):
    """A stand-in that knows the embeddings of its pictures, and one of the answer to each text; all (D,)."""

    def __init__(self, pictures: Mapping[str, Sequence[float]], answers: Mapping[str, Sequence[float]]) -> None:
        vectors = {name: np.array(each, np.float32) for name, each in pictures.items()}
        self.index = SimpleNamespace(read_embedding=vectors.__getitem__)
        self._answers = answers

    def answer(self, query: Query) -> Ranking:
        return Ranking((), np.array(self._answers[query.relative_caption], np.float32), None, None, {})


def test_a_minimum_is_met_within_k_alone(searcher: Searcher) -> None:
    found = [hit.picture_id for hit in searcher.search(RED, "in blue", k=5)]
    case = MinimumCase(name="a", kind="minimum", reference=RED, text="in blue", finds=found[2], k=3)
    assert ask_cases(searcher, [case]) == [CaseOutcome("a", "minimum", True, f"{found[2]} is answer 3")]
    (outcome,) = ask_cases(searcher, [case.model_copy(update={"k": 2})])
    assert (outcome.passed, outcome.measured) == (
        False, f"{found[2]} is not among the first 2; the first is {found[0]}",
    )  # fmt: skip


def test_an_invariance_counts_the_wording_that_shares_least(searcher: Searcher) -> None:
    first, second = (
        [hit.picture_id for hit in searcher.search(RED, text, k=99)] for text in ("in blue", "a large cat")
    )
    k = next(k for k in range(1, 99) if {*first[:k]} != {*second[:k]})
    texts = ["in blue", "in blue", "a large cat"]
    case = InvarianceCase(name="a", kind="invariance", reference=RED, texts=texts, k=k, overlap=1.0)
    (outcome,) = ask_cases(searcher, [case])
    share = len({*first[:k]} & {*second[:k]}) / k
    said = f"{share:.2f} of the first {k} are the same by 'a large cat', 1.00 asked"
    assert (outcome.passed, outcome.measured) == (False, said)
    (same,) = ask_cases(searcher, [case.model_copy(update={"texts": ["in blue", "in blue"]})])
    assert same.passed


@pytest.mark.parametrize(
    ("reference", "answer", "past", "passes"),
    [
        ((1, 0, 0), (1, 1, 0), GREEN, True),
        ((1, 0, 0), (1, 0, 1), GREEN, False),  # towards the other
        ((0, 0, 1), (0, 1, 2), GREEN, False),  # nearer than the reference, but still nearer to the other
        ((1, 2, 0), (1, 1, 0), GREEN, False),  # away from where the reference is already
        ((1, 0, 0), (1, 2, 0), None, True),
        ((1, 0, 0), (2, 1, 0), None, False),  # nearer to the reference than to what is asked for
    ],
)
def test_a_direction_is_nearer_to_its_target_and_more_so_than_the_reference(
    reference: tuple[int, ...], answer: tuple[int, ...], past: str | None, passes: bool
) -> None:
    pictures = {RED: reference, BLUE: (0, 1, 0), GREEN: (0, 0, 1)}
    case = DirectionCase(name="a", kind="direction", reference=RED, text="in blue", towards=BLUE, past=past)
    (outcome,) = ask_cases(KnownSearcher(pictures, {"in blue": answer}), [case])
    assert outcome.passed is passes


def test_what_a_direction_measured_is_said() -> None:
    pictures = {RED: (1, 0, 0), BLUE: (0, 1, 0), GREEN: (0, 0.6, 0.8)}
    case = DirectionCase(name="a", kind="direction", reference=RED, text="in blue", towards=BLUE, past=GREEN)
    (outcome,) = ask_cases(KnownSearcher(pictures, {"in blue": (0, 3, 0)}), [case])
    assert outcome.measured == f"nearer to {BLUE} than to {GREEN} by +0.400 of cosine, the reference by +0.000"


def test_a_picture_that_the_gallery_lacks_fails_its_case_and_no_other(searcher: Searcher) -> None:
    good = MinimumCase(name="a", kind="minimum", reference=RED, text="in blue", finds=BLUE, k=1000)
    missing = good.model_copy(update={"finds": "nobody"})
    outcomes = ask_cases(searcher, [missing, good])
    assert [each.passed for each in outcomes] == [False, True]
    assert "holds no picture 'nobody'" in outcomes[0].measured


def make_outcomes(**passed: bool) -> list[CaseOutcome]:
    return [CaseOutcome(name, name.rstrip("0123456789"), well, "seen") for name, well in passed.items()]


def test_what_the_champion_fails_too_is_no_objection_but_a_minimum_always_is() -> None:
    file = Path("behaviour.yaml")
    new = make_outcomes(minimum1=False, minimum2=True, direction1=False, direction2=False, invariance1=True)
    old = make_outcomes(minimum1=False, minimum2=True, direction1=False, direction2=True, invariance1=False)
    assert list_objections(new, lambda: old, file) == [
        "2 of 5 cases of behaviour.yaml fail: minimum1 (seen), direction2 (seen)"
    ]
    assert list_objections(new, list, file) == ["1 of 5 cases of behaviour.yaml fail: minimum1 (seen)"]
    assert list_objections(old[1:2], lambda: pytest.fail("the champion is asked for nothing"), file) == []


def test_a_champion_whose_files_are_gone_passes_nothing_and_can_be_replaced(
    searcher: Searcher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def open_version(_: BehaviourGate, version: RegisteredVersion) -> Searcher:
        if version.number == "1":
            raise InputInvalid("version 1 holds no files")
        return searcher

    monkeypatch.setattr(BehaviourGate, "_open", open_version)
    monkeypatch.setattr(BehaviourGate, "_keep", lambda *_: None)
    case = {"name": "a", "kind": "direction", "reference": RED, "text": "x", "towards": RED}  # nothing passes it
    (tmp_path / "cases.yaml").write_text(yaml.safe_dump([case]))
    champion, challenger = (RegisteredVersion(number, "run", {}, "") for number in ("1", "2"))
    gate = BehaviourGate(tmp_path, tmp_path / "cases.yaml")
    assert gate(challenger, champion) == []
    assert gate(champion, challenger) == ["the cases of cases.yaml cannot be asked: version 1 holds no files"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("- {name: a, kind: minimum, reference: r, text: t, finds: f}", "case 1, minimum, k: Field required"),
        ("- {name: a, kind: minimum, reference: r, text: t, finds: f, k: 0}", "greater than or equal to 1"),
        ("- {name: a, kind: maximum}", "case 1: Input tag 'maximum' found"),
        ("a: b", "Input should be a valid list of cases"),
        ("- [", "is not YAML"),
        ("[" * 999, "is not YAML"),
        ("- 2024-99-99", "is not YAML"),
        ("- {name: a,\n name: b}", "the key 'name' stands in line 1 and in line 2; keep one"),
        ('- {name: a, kind: "mini\\nmum"}', r"case 1: Input tag 'mini\\nmum' found"),
        (
            "- &a {name: a, kind: direction, reference: r, text: t, towards: f}\n- *a",
            "two cases of the name 'a'; give each",
        ),
    ],
)
def test_a_file_that_cannot_be_used_is_named_with_its_fault(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "cases.yaml").write_text(text)
    with pytest.raises(InputInvalid, match=message):
        read_cases(tmp_path / "cases.yaml")
    with pytest.raises(InputInvalid, match=r"params\.yaml names it as promotion\.behaviour"):
        read_cases(tmp_path / "nowhere.yaml")


def test_the_projects_own_cases_are_of_every_kind_and_fit() -> None:
    named = yaml.safe_load((ROOT / "params.yaml").read_text())["promotion"]["behaviour"]
    assert {case.kind for case in read_cases(ROOT / named)} == {"minimum", "invariance", "direction"}
