"""The real worker, as the fixture runs it."""

from datetime import datetime, timedelta

from crypto_updates.harness.condition import eventually
from crypto_updates.harness.crypto import Crypto
from tests.support import HANG_SECONDS


def test_a_fast_clock_has_a_quarter_of_an_hour_pass_in_a_second(crypto: Crypto) -> None:
    crypto.market.prices["bitcoin"] = 12_345.5
    worker = crypto.worker(clock=900)
    messages = crypto.published.wait(4, within=HANG_SECONDS)
    slots = [datetime.fromisoformat(message.json()["timestamp"]) for message in messages]
    assert [slot.minute % 15 for slot in slots] == [0] * len(slots)
    assert slots == [slots[0] + number * timedelta(minutes=15) for number in range(len(slots))]
    # Not that of the start, which may have been long ago, nor one whose fetch took a moment, which is minutes here.
    found = eventually(lambda: [seen for seen in crypto.published if "data" in seen.json()], HANG_SECONDS)
    assert found[0].json()["data"][0]["price"] == 12_345.5
    assert worker.stop() == 0


def test_a_worker_has_the_variables_that_it_is_given(crypto: Crypto) -> None:
    worker = crypto.worker("* * * * * *", MARKET_SOURCE="none")
    mark = worker.mark
    assert crypto.published.wait(2, within=HANG_SECONDS)[0].json().keys() == {"event", "timestamp"}
    worker.wait_for_line("[PUBLISH] Sent", HANG_SECONDS, after=mark)


def test_its_trigger_passes_once_for_each_event(crypto: Crypto) -> None:
    body = '{"trigger":"update"}'
    worker = crypto.worker("* * * * * *", MARKET_SOURCE="none", TRIGGER_SUBJECT="crypto.update", TRIGGER_BODY=body)
    crypto.published.wait(6, within=HANG_SECONDS)
    worker.stop()

    def triggers() -> list[str]:
        return [message.body.decode() for message in crypto.published if message.subject == "crypto.update"]

    events = sum(message.subject == "crypto.updates" for message in crypto.published)
    eventually(lambda: len(triggers()) == events)  # the last one may still be on its way
    assert triggers() == [body] * events
