"""How an audit reads, and what may be asked for with --since."""

import contextlib
import json
import re
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crypto_updates.bus.figures import Figures
from crypto_updates.clock.slots import Gap, Row
from stack.check import report
from stack.check.audit import since
from stack.check.repair import Repair
from stack.check.report import Audit

NOW = datetime(2023, 11, 21, 14, 30, 0, 500_000, UTC)
START = datetime(2023, 11, 21, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
ROWS = [
    Row(START, 4, 1, 2, 0, [Gap(START, START, 1)], [0.25, 1.5, 700.0]),
    Row(START + HOUR, 0, 0, 0, 0, [], []),
    Row(START + 2 * HOUR, 2, 0, 0, 3, [], [0.5, 300_000.0]),
]
TOTAL = Row(START, 6, 1, 2, 3, [Gap(START, START, 1)], [0.25, 0.5, 1.5, 700.0, 300_000.0])
FIGURES = Figures(9, 12, 1, 2, 3)
AUDIT = Audit(
    "crypto", "*/15 * * * *", START, START + 2.5 * HOUR, ROWS, TOTAL, START, 7, FIGURES, START + 2 * HOUR, None
)


def table(audit: Audit) -> str:
    return "\n".join(report.table(audit))


def test_the_table_has_a_row_for_each_piece_with_slots_and_a_total() -> None:
    assert (
        table(AUDIT)
        == """\
Feed crypto, schedule */15 * * * *: 2023-11-21T12:00:00Z to 2023-11-21T14:30:00Z
slots from, UTC   expected  stored  missing   late  no data   lag p50       p99       max
2023-11-21 12:00         4       3        1      1        2    1.50 s    12 min    12 min
2023-11-21 14:00         2       2        0      0        0    0.50 s       3 d       3 d
total                    6       5        1      1        2    1.50 s       3 d       3 d
Missing:
  2023-11-21T12:00:00Z
Events at no slot of the schedule: 3; SCHEDULE and SCHEDULE_TZ must be the worker's
Newest slot: published 2023-11-21T14:00:00Z, stored 2023-11-21T12:00:00Z
Dead letters since 2023-11-21T12:00:00Z: 7 (crypto-updates dead-letters list)
NATS: 9 messages in the stream; consumer: 1 waiting, 2 unacknowledged, 3 redelivered"""
    )


def test_slots_that_only_a_foreign_event_has_are_marked() -> None:
    rows = [ROWS[0]._replace(foreign=2), *ROWS[1:]]
    text = table(AUDIT._replace(rows=rows, total=TOTAL._replace(foreign=2)))
    assert [line[-11:] for line in text.splitlines() if line.endswith("foreign")] == ["  2 foreign"] * 2
    assert "\nForeign: 2 of the stored slots have no event of feed crypto, but one whose id names no feed," in text
    found = json.loads(report.document(AUDIT._replace(rows=rows, total=TOTAL._replace(foreign=2))))
    assert (found["foreign"], [row["foreign"] for row in found["rows"]]) == (2, [2, 0, 0])


def test_a_silent_nats_is_told_and_hides_nothing() -> None:
    text = table(AUDIT._replace(figures=None, problem="CONNECTION_REFUSED nats://x:4222: verify"))
    assert text.endswith("\nNATS: CONNECTION_REFUSED nats://x:4222: verify")
    assert "\nNewest slot: stored 2023-11-21T12:00:00Z\n" in text
    assert "\ntotal " in text


def test_it_says_where_the_feed_begins() -> None:
    assert f"{START:%Y-%m-%dT%H:%M:%SZ} (its first slot) to" in table(AUDIT._replace(asked=START - HOUR))


def test_it_says_where_the_kept_events_begin() -> None:
    audit = AUDIT._replace(asked=START - HOUR, max_event_age=timedelta(days=30), is_aged=True)
    assert f"{START:%Y-%m-%dT%H:%M:%SZ} (the first that is kept: MAX_EVENT_AGE=30d) to" in table(audit)
    assert json.loads(report.document(audit))["max_event_age"] == 30 * 86_400
    assert "MAX_EVENT_AGE" not in table(audit._replace(asked=START))
    assert "(its first slot)" in table(audit._replace(is_aged=False))


@pytest.mark.parametrize(("expected", "line"), [(6, "No slot is missing."), (0, "No slot was due.")])
def test_it_says_that_nothing_is_missing_and_whether_anything_was_due(expected: int, line: str) -> None:
    assert line in table(AUDIT._replace(total=TOTAL._replace(expected=expected, gaps=[]))).splitlines()


def test_of_many_gaps_it_names_the_first_and_counts_the_slots_of_the_rest() -> None:
    gaps = [Gap(START + number * HOUR, START + number * HOUR, 1) for number in range(19)]
    gaps += [Gap(START + 20 * HOUR, START + 21 * HOUR, 5), Gap(START + 30 * HOUR, START + 40 * HOUR, 41)]
    lines = table(AUDIT._replace(total=TOTAL._replace(gaps=gaps))).splitlines()
    place = lines.index("Missing:")
    assert lines[place + 20] == "  2023-11-22T08:00:00Z to 2023-11-22T09:00:00Z (5 slots)"
    assert lines[place + 21] == "  and 41 more (--json names all)"


def test_json_has_the_same_figures() -> None:
    document = json.loads(report.document(AUDIT))
    rows = document.pop("rows")
    assert document == {
        "feed": "crypto",
        "schedule": "*/15 * * * *",
        "since": "2023-11-21T12:00:00Z",
        "until": "2023-11-21T14:30:00Z",
        "max_event_age": None,
        "expected": 6,
        "stored": 5,
        "missing": 1,
        "late": 1,
        "without_data": 2,
        "foreign": 0,
        "at_no_slot": 3,
        "lag_seconds": {"p50": 1.5, "p99": 300_000.0, "max": 300_000.0},
        "gaps": [{"from": "2023-11-21T12:00:00Z", "to": "2023-11-21T12:00:00Z", "slots": 1}],
        "dead_letters": 7,
        "newest_stored": "2023-11-21T12:00:00Z",
        "nats": {
            "messages": 9,
            "last_seq": 12,
            "pending": 1,
            "ack_pending": 2,
            "redelivered": 3,
            "newest_published": "2023-11-21T14:00:00Z",
        },
        "nats_problem": None,
    }
    assert [row["since"][11:13] for row in rows] == ["12", "13", "14"]
    assert rows[1]["lag_seconds"] == {"p50": None, "p99": None, "max": None}


def test_json_says_why_nats_told_nothing() -> None:
    document = json.loads(report.document(AUDIT._replace(figures=None, problem="down")))
    assert (document["nats"], document["nats_problem"]) == (None, "down")


REPAIR = Repair(
    9, [START] * 5, known=1, restored=1, waiting=2, bare=2, sources={"defillama"}, problem="DefiLlama is down"
)


def test_it_says_what_a_repair_did_and_what_stays_without_data() -> None:
    assert list(report.repaired(REPAIR)) == [
        "Repair: 5 published with data of defillama, 5 stay without data",
        "  1 were in the stream already: 1 stored from there",
        "  2 without data: MARKET_SOURCE and MARKET_FALLBACK have no prices of their time",
        "  2 not in MongoDB yet: see the API stub's log (docker compose logs api_stub)",
        "  3 not published: DefiLlama is down; repeat the command",
    ]
    assert list(report.repaired(Repair(0))) == ["Repair: 0 published, 0 stay without data"]
    assert json.loads(report.document(AUDIT._replace(repair=REPAIR)))["repair"] == {
        "missing": 9,
        "published": 5,
        "already_in_stream": 1,
        "stored_from_stream": 1,
        "not_stored_yet": 2,
        "not_published": 3,
        "without_data": 5,
        "sources": ["defillama"],
        "problem": "DefiLlama is down",
    }


@pytest.mark.parametrize(
    ("span", "start"),
    [
        ("90s", "2023-11-21T14:28:30Z"),
        ("90m", "2023-11-21T13:00:00Z"),
        ("24h", "2023-11-20T14:30:00Z"),
        ("7d", "2023-11-14T14:30:00Z"),
        ("2023-11-21T14:30:00Z", "2023-11-21T14:30:00Z"),
        ("2023-11-21T14:30:00+01:00", "2023-11-21T13:30:00Z"),
        ("2023-11-21T14:29", "2023-11-21T14:29:00Z"),
        ("2023-11-21", "2023-11-21T00:00:00Z"),
        ("20231121T1429", "2023-11-21T14:29:00Z"),
        ("20231121T14,25+00", "2023-11-21T14:15:00Z"),
    ],
)
def test_a_span_is_a_length_or_a_time(span: str, start: str) -> None:
    assert since(span, NOW) == datetime.fromisoformat(start)


@pytest.mark.parametrize(
    "span",
    [
        *("", "24", "h", "3x", "-1h", "0h", "1.5h", "24 h", "yesterday", "99999999d", "9" * 40 + "d", "٣h"),
        *("2023-11-21T14:31:00Z", "2099-01-01", "2023-13-01", "0001-01-01T00:00:00+01:00"),
    ],
)
def test_a_bad_span_is_told_with_its_value_and_what_is_accepted(span: str) -> None:
    with pytest.raises(ValueError, match="accepted: 90s, 90m, 24h, 7d, or an ISO 8601 time in the past") as caught:
        since(span, NOW)
    assert f"--since {span!r}: " in str(caught.value)


@pytest.mark.parametrize(
    ("span", "problem"),
    [
        ("2016-12-31T23:59:60Z", "a leap second (:60), which MongoDB's dates do not have"),
        ("2099-01-01", "not in the past"),
        ("3x", "not an ISO 8601 time"),
    ],
)
def test_a_bad_span_is_told_with_what_is_wrong(span: str, problem: str) -> None:
    with pytest.raises(ValueError, match=f"^--since {re.escape(f'{span!r}: {problem}')}; accepted: 90s, "):
        since(span, NOW)


@given(span=st.text())
def test_any_span_is_in_the_past_or_refused(span: str) -> None:
    with contextlib.suppress(ValueError):
        assert since(span, NOW) <= NOW
