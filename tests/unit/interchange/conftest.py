import pytest


@pytest.fixture(autouse=True)
def _work_in_this_process(one_process: None) -> None:
    """Spare each import a process."""
