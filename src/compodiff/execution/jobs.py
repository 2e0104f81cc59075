"""Which stages are jobs of a cluster, and what a job is given.

COMPODIFF_JOBS names the cluster's kind; COMPODIFF_JOB_STAGES names other stages than the trainings, and COMPODIFF_JOB
is JSON with a job's parameters, under the names that the kind has for them. Time limits are those of params.yaml.
"""

import hashlib
import json
import os
from pathlib import Path
from typing import Any

from compodiff.errors import InputInvalid
from compodiff.execution.training_processes import TRAININGS

JOBS, STAGES, PARAMETERS = "COMPODIFF_JOBS", "COMPODIFF_JOB_STAGES", "COMPODIFF_JOB"
SLURM, KUBERNETES = "slurm", "kubernetes"
SECONDS_FOR_A_CHECKPOINT = 120  # between SIGTERM and the end of a job
TIMES_CUT_OFF = 100  # that a job may reach its time limit and go on


def find_cluster(stage: str) -> str | None:
    """Return the kind of cluster that a stage is to be a job of: COMPODIFF_JOBS, for each of COMPODIFF_JOB_STAGES.

    Raises:
        InputInvalid: COMPODIFF_JOBS is something else.
    """
    kind = os.environ.get(JOBS, "")
    if kind not in ("", SLURM, KUBERNETES):
        known = f"{SLURM} or {KUBERNETES}"
        raise InputInvalid(f"{JOBS} is {kind!r}; set it to {known}, or leave it out for stages that run here")
    named = os.environ.get(STAGES, ",".join(TRAININGS)).replace(" ", "").split(",")
    return (kind or None) if stage in named or stage.partition("@")[0] in named else None


def read_job_parameters() -> dict[str, Any]:
    """Return what COMPODIFF_JOB gives a job.

    Raises:
        ValueError: it is no JSON.
        TypeError: it is no object of JSON.
    """
    return dict(**json.loads(os.environ.get(PARAMETERS, "{}")))


def digest_origin(project: Path) -> str:
    """Digest the params and the code that a job runs with."""
    sources = sorted(Path(__file__).parents[1].rglob("*.py"))
    contents = (path.read_bytes() for path in (project / "params.yaml", *sources))
    return hashlib.sha256(b"".join(contents)).hexdigest()
