"""`--once`: the slot from the command line, and what a dry run prints."""

import argparse
from datetime import UTC, datetime

import pytest

from crypto_updates.bus import trace
from worker import once
from worker.market.simulated import Simulated

SLOT = datetime(2023, 11, 21, 14, 30, tzinfo=UTC)
TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


@pytest.mark.parametrize(
    "text",
    [
        "2023-11-21T14:30:00Z",
        "2023-11-21T15:30:00+01:00",
        "2023-11-21 09:00:00-05:30",
        "2023-11-21T14:30Z",
        "20231121T1430+00",
    ],
)
def test_a_slot_is_an_instant_with_its_offset(text: str) -> None:
    slot = once.parse_slot(text)
    assert slot == SLOT
    assert slot.tzinfo is UTC


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "not an ISO 8601 time"),
        ("soon", "not an ISO 8601 time"),
        ("2023-11-21", "a date without a time of day and an offset"),
        ("2023-11-21T14:30:00", "no offset from UTC, such as Z or +01:00"),
        ("2023-11-21T14:30:00.5Z", "not in whole seconds"),
        ("0001-01-01T00:00:00+01:00", "beyond the years 0001 to 9999 in UTC"),
    ],
)
def test_it_refuses_what_is_no_slot(text: str, problem: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError) as raised:
        once.parse_slot(text)
    accepted = "an ISO 8601 time in whole seconds with offset, 2023-11-21T14:30:00Z"
    assert str(raised.value) == f"{text}: {problem}; accepted: {accepted}"


async def test_a_dry_run_prints_the_message_as_it_would_go_out(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trace, "fresh", lambda: TRACE)
    assert await once.show(SLOT, "demo", None) == 0
    assert capsys.readouterr().out.splitlines() == [
        "subject: crypto.updates",
        "Nats-Msg-Id: demo@2023-11-21T14:30:00Z",
        "ce-specversion: 1.0",
        "ce-id: demo@2023-11-21T14:30:00Z",
        "ce-source: /crypto-updates/demo",
        "ce-type: CRYPTO_UPDATE",
        "ce-time: 2023-11-21T14:30:00Z",
        "ce-datacontenttype: application/json",
        f"traceparent: {TRACE}",
        "",
        '{"event":"CRYPTO_UPDATE","timestamp":"2023-11-21T14:30:00Z"}',
    ]


async def test_a_dry_run_shows_the_data_of_the_market(capsys: pytest.CaptureFixture[str]) -> None:
    await once.show(SLOT, "demo", Simulated(coins=("bitcoin",), currency="usd"))
    body = capsys.readouterr().out.splitlines()[-1]
    assert '"source":"simulated","data":[{"coin":"bitcoin",' in body
