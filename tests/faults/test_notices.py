"""Word that cannot be sent: the address is away, or the block is not there."""

from collections.abc import Iterator

import pytest
from prefect import flow
from prefect.blocks.notifications import CustomWebhookNotificationBlock
from prefect.testing.utilities import prefect_test_harness
from worlds.operated import free_port

from flows.notices import tell, tell_failure


@pytest.fixture(scope="module", autouse=True)
def _prefect() -> Iterator[None]:
    with prefect_test_harness(server_startup_timeout=180):
        yield


@pytest.mark.parametrize("block", ["custom-webhook/away", "custom-webhook/never-made"])
def test_word_that_cannot_be_sent_stops_nothing_and_is_said(
    block: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    address = f"http://127.0.0.1:{free_port()}"
    away = CustomWebhookNotificationBlock(name="away", url=address, json_data={"text": "{{body}}"})
    away.save("away", overwrite=True, _sync=True)
    monkeypatch.setenv("COMPODIFF_NOTIFY", block)

    @flow(on_failure=[tell_failure])
    def told() -> str:
        tell("promoted", "version 2", "it is better")
        return "done"

    assert told() == "done"
    assert f"COMPODIFF_NOTIFY={block} could not be notified" in caplog.text
