import pytest


@pytest.fixture(autouse=True)
def one_process(monkeypatch):
    monkeypatch.setenv("COMPODIFF_WORKERS", "1")
