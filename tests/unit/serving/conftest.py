from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from search_world import make_project, places_in

from compodiff.serving.api import create_app
from compodiff.serving.limits import Limits
from compodiff.serving.live import Champion


@pytest.fixture(scope="session")
def project(tmp_path_factory, small_data, small_catalogue) -> Path:
    return make_project(tmp_path_factory.mktemp("serving"), small_data, small_catalogue)


@pytest.fixture(scope="session")
def champion(project) -> Champion:
    return Champion(lambda: places_in(project / "artifacts"))


SMALL = Limits(upload_bytes=200_000, pixels=1_000_000)


@pytest.fixture(scope="session")
def client(champion):
    with TestClient(create_app(champion, limits=SMALL, refresh_seconds=600)) as client:
        yield client
