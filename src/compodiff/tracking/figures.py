"""The figures of a model on a benchmark, and its outcomes query by query, as the gate of promotion reads them."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from compodiff.errors import InputInvalid
from compodiff.outcomes import QueryOutcomes
from compodiff.params import SamplingParams
from compodiff.storage.json_files import read_json
from compodiff.storage.scratch import open_scratch
from compodiff.tracking.registry import RegisteredVersion
from compodiff.tracking.store import Store, require_answers

_RECORD = "record"
_FREE = ("seed", "precision")  # dials that may differ between a model and its figures


def read_figures(file: Path) -> dict[str, Any]:
    """Read a metrics file of the stage evaluate, or a result of `compodiff benchmark run --json`: figures by row.

    Raises:
        InputInvalid: it is neither.
    """
    content = read_json(file)
    if not isinstance(content, dict) or _RECORD not in content:
        raise InputInvalid(f"{file} is no result of a benchmark; write one by: compodiff benchmark run NAME --json")
    rows = content.get("rows")
    if not isinstance(rows, dict):
        return {row: figures for row, figures in content.items() if row != _RECORD}
    return {row: _read_row(figures) for row, figures in rows.items()}


def list_results(folder: Path) -> dict[str, Path]:
    """Return the files of figures in a folder, by the name of their benchmark; none where there is no folder."""
    return {file.stem: file for file in sorted(folder.glob("[!.]*.json"))}


def read_measured_digest(content: Any, file: Path) -> str:
    """Return the sha256 of the composed model's weights that the content of a metrics file or a result is about.

    Raises:
        InputInvalid: the content does not say it.
    """
    try:
        stated = content[_RECORD]["weights_digest"]
        return str(stated["composed"] if isinstance(stated, Mapping) else stated)
    except (KeyError, TypeError) as error:
        raise InputInvalid(f"{file} does not say which weights it measures; measure again") from error


def require_figures_of(file: Path, digest: str, sampling: SamplingParams) -> None:
    """Refuse figures of another model, or of this one by other dials.

    Args:
        file: of a result.
        digest: sha256 of the composed model's weights.
        sampling: the model's dials.

    Raises:
        InputInvalid: the figures are not this model's.
    """
    content = read_json(file)
    if (measured := read_measured_digest(content, file)) != digest:
        raise InputInvalid(
            f"{file} measures other weights ({measured[:12]}) than the model's ({digest[:12]}); "
            "write one of this model by: compodiff benchmark run NAME --json"
        )
    asked = content[_RECORD].get("sampling")
    asked = asked if isinstance(asked, Mapping) else {}
    own = {dial: value for dial, value in sampling.model_dump().items() if dial not in _FREE}
    if other := [f"{dial} {asked.get(dial)}, not {value}" for dial, value in own.items() if asked.get(dial) != value]:
        raise InputInvalid(f"{file} was measured with {'; '.join(other)}; measure the model by its own dials")


def _read_row(summary: Mapping[str, Any]) -> dict[str, Any]:
    """Return a row of `benchmark run` as the stage evaluate writes rows; intervals where there are any."""
    intervals = {name: ends for name, ends in summary["intervals"].items() if ends is not None}
    return {**summary["metrics"], "intervals": intervals, "relations": summary.get("groups", {})}


def read_outcomes(store: Store, version: RegisteredVersion, names: Iterable[str]) -> dict[str, QueryOutcomes]:
    """Return the outcomes query by query that were registered with a version, of those benchmarks that have them.

    Raises:
        InputInvalid: they are damaged.
        ResourceUnavailable: MLflow cannot be reached.
    """
    found = {}
    with open_scratch() as temporary, require_answers(store.uri):
        for name in names:
            path = f"reports/{name}/outcomes.json"
            if any(file.path == path for file in store.client.list_artifacts(version.run_id, f"reports/{name}")):
                file = Path(store.client.download_artifacts(version.run_id, path, str(temporary)))
                found[name] = QueryOutcomes.from_json(read_json(file), f"{path} of version {version.number}")
    return found
