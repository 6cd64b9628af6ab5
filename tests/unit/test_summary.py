"""The summary of `make test`."""

from collections import Counter
from pathlib import Path

from tests.__main__ import Result, read, summary

REPORT = """<testsuites><testsuite>
<testcase classname="tests.unit.test_a" name="test_one"/>
<testcase classname="tests.unit.test_a" name="test_two"><failure message="assert 1 == 2"/></testcase>
<testcase classname="tests.unit.test_a" name="test_three"><error message="no fixture"/></testcase>
<testcase classname="tests.unit.test_a" name="test_four"><skipped message="needs Chromium"/></testcase>
</testsuite></testsuites>"""


def test_each_outcome_of_a_group_is_counted(tmp_path: Path) -> None:
    report = tmp_path / "report.xml"
    report.write_text(REPORT, encoding="utf-8")
    result = read(report, 1)
    assert result.counts == {"passed": 1, "failed": 2, "skipped": 1}
    assert result.failures == ["tests.unit.test_a::test_two", "tests.unit.test_a::test_three"]
    assert result.skips == {"needs Chromium": 1}


def test_a_group_that_did_not_run_has_failed(tmp_path: Path) -> None:
    assert read(tmp_path / "none.xml", 4).failures == ["pytest ended with status 4"]
    assert read(tmp_path / "none.xml", 0).failures == ["pytest ended with status 0"]


def test_the_summary_names_what_failed_and_what_was_skipped_and_ends_with_the_sum() -> None:
    one = Result(Counter(passed=3, skipped=2), [], Counter({"needs Chromium": 2}))
    two = Result(Counter(passed=4, failed=1), ["tests.chaos::test_x"], Counter())
    lines = summary({"unit": one, "chaos": two}).splitlines()
    assert "FAILED  chaos: tests.chaos::test_x" in lines
    assert "SKIPPED 2 tests: needs Chromium" in lines
    assert lines[-1] == "7 passed, 1 failed, 2 skipped"
    assert summary({"chaos": Result(Counter(passed=4), [], Counter())}).splitlines()[-1] == "4 passed, 0 failed"
