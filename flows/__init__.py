"""Prefect: schedules, retries, time limits and what a person watches. The graph itself is DVC's (dvc.yaml).

The settings below must stand before anything imports Prefect, so they stand here; what the environment says wins.
"""

import os
import warnings
from pathlib import Path

for _name, _value in {
    "DO_NOT_TRACK": "1",
    "PREFECT_HOME": str(Path.cwd() / ".prefect"),
    # The server that a flow starts for itself takes longer than Prefect's own 20 s on a busy machine.
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",
    # Its heartbeat locks the new database of a first run.
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    # It reports its own shutdown as an error.
    "PREFECT_SERVER_LOGGING_LEVEL": "CRITICAL",
}.items():
    os.environ.setdefault(_name, _value)
# A folder that cannot be written is said by the flow itself, in one line.
warnings.filterwarnings("ignore", message="Failed to create the Prefect home directory")

from compodiff.watching.tracing import start_tracing  # noqa: E402

start_tracing("compodiff-flows")  # Prefect makes a span of each flow and task
