"""The second gate of promotion: what stands against a challenger by the cases of a file."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from compodiff.behaviour.cases import Case, read_cases
from compodiff.errors import CompoDiffError, ResourceUnavailable
from compodiff.params import Params
from compodiff.storage.atomic import write_json
from compodiff.storage.scratch import open_scratch
from compodiff.tracking.registry import RegisteredVersion
from compodiff.tracking.store import open_store, require_answers
from compodiff.tracking.version_files import find_model_folder

if TYPE_CHECKING:
    from compodiff.behaviour.asking import CaseOutcome
    from compodiff.search.searcher import Searcher

MINIMUM = "minimum"
TABLE = "behaviour.json"


@dataclass(frozen=True)
class BehaviourGate:
    """Asks the cases of `file` of versions of the project's registry; called by tracking.promotion."""

    project: Path
    file: Path

    def __call__(self, challenger: RegisteredVersion, champion: RegisteredVersion | None) -> list[str]:
        """Return why `challenger` may not replace `champion`; keep the table of outcomes with the challenger's run.

        Raises:
            InputInvalid: the file of cases cannot be used.
            ResourceUnavailable: MLflow cannot be reached.
        """
        cases = read_cases(self.file)
        try:
            outcomes = self._ask(challenger, cases)
        except ResourceUnavailable:
            raise
        except CompoDiffError as error:
            return [f"the cases of {self.file.name} cannot be asked: {error}"]
        self._keep(challenger, outcomes)
        return list_objections(outcomes, lambda: self._ask_champion(champion, cases), self.file)

    def _ask_champion(self, champion: RegisteredVersion | None, cases: Sequence[Case]) -> "list[CaseOutcome]":
        """Return the champion's outcomes; one whose files are gone or damaged passes none, and can be replaced."""
        try:
            return [] if champion is None else self._ask(champion, cases)
        except ResourceUnavailable:
            raise
        except CompoDiffError:
            return []

    def _ask(self, version: RegisteredVersion, cases: Sequence[Case]) -> "list[CaseOutcome]":
        from compodiff.behaviour.asking import ask_cases

        return ask_cases(self._open(version), cases)

    def _open(self, version: RegisteredVersion) -> "Searcher":
        """Open a version with its own index.

        Raises:
            CompoDiffError: it cannot be opened.
        """
        from compodiff.search.searcher import Searcher

        return Searcher.load(str(find_model_folder(self.project, version.number)))

    def _keep(self, version: RegisteredVersion, outcomes: Sequence["CaseOutcome"]) -> None:
        store = open_store(self.project)
        with open_scratch() as temporary, require_answers(store.uri):
            table = temporary / TABLE
            write_json(table, [asdict(each) for each in outcomes])
            store.client.log_artifact(version.run_id, str(table))


def make_behaviour_gate(project: Path, params: Params) -> BehaviourGate | None:
    """Return the gate that params.yaml names, or None where it names none."""
    return None if params.promotion.behaviour is None else BehaviourGate(project, project / params.promotion.behaviour)


def list_objections(
    outcomes: Sequence["CaseOutcome"], ask_champion: "Callable[[], Sequence[CaseOutcome]]", file: Path
) -> list[str]:
    """Return one sentence that names each failed case that counts; nothing where none does.

    Args:
        outcomes: of the challenger.
        ask_champion: returns those of the champion, none where there is none; not called where nothing depends on it.
        file: of the cases.
    """
    failed = [each for each in outcomes if not each.passed]
    if any(each.kind != MINIMUM for each in failed):
        passed = {each.name for each in ask_champion() if each.passed}
        failed = [each for each in failed if each.kind == MINIMUM or each.name in passed]
    if not failed:
        return []
    said = ", ".join(f"{each.name} ({each.measured})" for each in failed)
    return [f"{len(failed)} of {len(outcomes)} cases of {file.name} fail: {said}"]
