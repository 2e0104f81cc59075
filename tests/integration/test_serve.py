"""The served process under load and under fuzzing; minutes, so `make test-all`."""

import http.client
import importlib.util
import subprocess
import sys
import time
from contextlib import closing
from urllib.parse import urlsplit

import pytest

from compodiff.speed import serving

pytestmark = pytest.mark.slow


def test_many_clients_with_partly_broken_requests_break_nothing(search_project):
    result = serving.run(search_project, ["--model", "artifacts"], clients=50, seconds=20)
    assert result["server_errors"] == 0
    assert set(result["together"]["statuses"]) == {"200", "400", "422"}
    assert result["together"]["statuses"]["200"] > 500
    assert result["gain_by_cpu"] > 1.5  # the model of this project is tiny: most of a query is not the model's work
    memory = result["memory_mib"]
    assert memory["end"] < memory["settled"] + 60


def test_a_connection_that_was_idle_for_longer_than_clients_keep_one_is_still_answered(search_project):
    with (
        serving.run_server(search_project, ["--model", "artifacts"]) as (address, _),
        closing(http.client.HTTPConnection(urlsplit(address).netloc, timeout=30)) as connection,
    ):
        for wait in (0, 6.5):  # httpx keeps one for 5 s
            time.sleep(wait)
            connection.request("GET", "/health")
            assert connection.getresponse().read()
            assert connection.sock is not None, "the server asked to close it"


@pytest.mark.skipif(
    importlib.util.find_spec("schemathesis") is None, reason="schemathesis fuzzes; pip install '.[fuzz]'"
)
def test_fuzzing_the_api_by_its_own_description_finds_nothing(search_project):
    # positive_data_acceptance is off: a schema cannot say "bytes of a picture", "an id of this index", "a filter over
    # these columns", nor that a mask wants a reference and the mode text a text; such a query is refused by a 422.
    options = ["--max-examples", "40", "--exclude-checks", "positive_data_acceptance", "--request-timeout", "30"]
    with serving.run_server(search_project, ["--model", "artifacts"]) as (address, _):
        command = [sys.executable, "-m", "schemathesis.cli", "run", f"{address}/openapi.json", *options]
        found = subprocess.run(command, capture_output=True, text=True, check=False, cwd=search_project)
    assert found.returncode == 0, "\n".join(line[:300] for line in found.stdout.splitlines())[-6000:]
