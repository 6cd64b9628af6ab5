import json
from pathlib import Path
from xml.etree import ElementTree as ET

from crypto_updates.harness.verdict import report
from crypto_updates.harness.verdict.item import Outcome, Result

RESULTS = [
    Result("reacts to an event", Outcome.HOLDS, 3.2, "p50 3 ms, p95 5 ms of 20"),
    Result("NATS down 25 s", Outcome.FAILS, 55.04, "not subscribed\x1b[31m", "nats.js: reconnect", Path("/logs/NATS")),
    Result("a second copy", Outcome.SKIPPED, 0.0, "the body carries no identity"),
]


def test_the_table_marks_each_item_and_says_what_to_do_and_where_the_logs_are() -> None:
    lines = list(report.table(RESULTS, 61.2, untried=8))
    assert [line[0] for line in lines[:2]] == ["✓", "✗"]
    assert "nats.js: reconnect" in lines[2]
    assert "/logs/NATS" in lines[3]
    assert lines[4].startswith("- a second copy")
    assert lines[5] == "1 of 3 hold, 1 does not, 1 skipped; 61 s"
    assert lines[6] == "8 long items were not tried: without --quick they are"


def test_long_texts_are_wrapped_under_their_beginning_but_for_what_is_copied() -> None:
    url = "https://" + 150 * "x"
    long = RESULTS[1]._replace(seen="word " * 40, advice=f"see {url} for it", logs=Path("/tmp/a b"))  # noqa: S108 - a name
    *lines, total = report.table([RESULTS[0], long], 61.2, width=80)
    texts = [line[len("✗ reacts to an event   55.0 s  ") :] for line in lines]
    assert {len(line) > 80 for line in lines if "https" not in line} == {False}
    assert " ".join(texts[1:-4]) == ("word " * 40).strip()
    assert texts[-4:] == ["see", url, "for it", "logs: /tmp/a b"]
    assert total.startswith("1 of 2 hold")


def test_a_terminal_without_the_marks_gets_plain_ones() -> None:
    "\n".join(report.table(RESULTS, 61.2, unicode=False)).encode("ascii")


def test_the_document_has_for_each_item_what_programs_ask_for() -> None:
    items = json.loads(report.document(RESULTS))["items"]
    assert [item["result"] for item in items] == ["holds", "fails", "skipped"]
    assert all(item.keys() == {"name", "result", "seconds", "seen", "advice"} for item in items)
    assert items[1]["seen"].endswith("logs: /logs/NATS")


def test_junit_counts_failures_and_skips_and_can_be_read_whatever_a_server_wrote() -> None:
    suite = ET.fromstring(report.junit(RESULTS))[0]  # noqa: S314 - our own
    assert [suite.get(name) for name in ("tests", "failures", "skipped", "errors")] == ["3", "1", "1", "0"]
    assert [[part.tag for part in case] for case in suite] == [["system-out"], ["failure"], ["skipped"]]
