"""Flow: the index over a folder of pictures follows the folder; a search goes on with the old index until then."""

from pathlib import Path
from typing import Annotated

from prefect import flow
from prefect.artifacts import create_markdown_artifact
from prefect.client.schemas.objects import State
from prefect.states import Completed
from pydantic import Field

from compodiff.index import INSIDE
from flows.notices import note_success, tell_failure
from flows.processes.open_runs import begin_run
from flows.tasks import HOUR, Seconds, run_compodiff

_Folder = Annotated[Path, Field(description="the watched folder, of pictures at any depth")]
_Out = Annotated[Path | None, Field(description=f"where the index stands; in the folder, as {INSIDE}, if not said")]
_Model = Annotated[str, Field(min_length=1, description="the model that will search: an alias, or a folder")]
_Thorough = Annotated[bool, Field(strict=True, description="read every picture, to see also those that changed")]


@flow(
    name="index-refresh",
    flow_run_name="refresh the index of {folder}, thorough={thorough}",
    timeout_seconds=12 * HOUR,
    on_completion=[note_success],
    on_failure=[tell_failure],
    on_crashed=[tell_failure],
)
def refresh_index(
    folder: _Folder,
    out: _Out = None,
    model: _Model = "models:/compodiff@champion",
    thorough: _Thorough = False,
    limit_seconds: Seconds = 4 * HOUR,
) -> State[str]:
    """Add what is new in `folder` and take out what is gone; pictures that do not decode wait for the next time.

    Args:
        folder: of pictures.
        out: the index.
        model: its encoder reads the pictures.
        thorough: read every byte, instead of going by names.
        limit_seconds: time that each step may take.
    """
    begin_run()
    place = ["--out", str(out)] if out else []
    reading = [str(folder), *place, "--model", model]
    whole = thorough or not (out or folder / INSIDE).is_dir()
    build = [*reading, *(["--checksum"] if thorough else [])]
    steps = {"build": build} if whole else {"add": reading, "remove": [str(folder), *place]}
    said = []
    for step, arguments in steps.items():
        last = run_compodiff(f"index {step}", ["index", step, *arguments], limit_seconds=limit_seconds)
        said.append(f"{step}: {last}")
    create_markdown_artifact("\n".join(f"- {line}" for line in said), key="index", description=f"Index of {folder}")
    return Completed(message="; ".join(said), data=said[-1])
