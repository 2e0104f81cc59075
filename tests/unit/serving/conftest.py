import pytest
from fastapi.testclient import TestClient
from worlds.search import places_in

from compodiff.serving.api import create_app
from compodiff.serving.champion import Champion
from compodiff.serving.limits import Limits


@pytest.fixture(scope="session")
def champion(search_project) -> Champion:
    return Champion(lambda: places_in(search_project / "artifacts"))


SMALL = Limits(upload_bytes=200_000, pixels=1_000_000)


@pytest.fixture(scope="session")
def client(champion):
    with TestClient(create_app(champion, limits=SMALL, refresh_seconds=600)) as client:
        yield client
