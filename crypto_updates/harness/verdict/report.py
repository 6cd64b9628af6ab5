"""The verdict as a table for people, as JSON for programs, and as JUnit's XML for CI."""

import json
import textwrap
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from xml.etree import ElementTree as ET

from crypto_updates.harness.verdict.item import Outcome, Result

MARKS: Mapping[Outcome, str] = {
    Outcome.HOLDS: "\N{CHECK MARK}",
    Outcome.FAILS: "\N{BALLOT X}",
    Outcome.SKIPPED: "-",
}
# A narrow terminal gets lines that are too long for it, instead of many that are too short for people.
_LEAST_WIDTH = 40
# For a terminal without these characters.
PLAIN_MARKS: Mapping[Outcome, str] = {Outcome.HOLDS: "+", Outcome.FAILS: "x", Outcome.SKIPPED: "-"}


def table(
    results: Sequence[Result], seconds: float, *, untried: int = 0, unicode: bool = True, width: int = 120
) -> Iterator[str]:
    """Line by line. `seconds`: how long all of it took. `unicode`: whether the terminal has the marks."""
    marks = MARKS if unicode else PLAIN_MARKS
    names = max((len(result.name) for result in results), default=0)
    for result in results:
        head = f"{marks[result.outcome]} {result.name:{names}} {result.seconds:6.1f} s  "
        told = [*_wrapped(result.seen, width - len(head)), *_wrapped(result.advice, width - len(head))]
        told += [f"logs: {result.logs}"] if result.logs else []  # in one piece, to copy it
        for line in told or [""]:
            yield (head + line).rstrip()
            head = " " * len(head)
    yield summary(results, seconds)
    if untried:
        yield f"{untried} long items were not tried: without --quick they are"


def _wrapped(text: str, width: int) -> list[str]:
    """The lines of a text. What has no space in it, as code to copy, stays whole."""
    return textwrap.wrap(text, max(width, _LEAST_WIDTH), break_long_words=False, break_on_hyphens=False)


def summary(results: Sequence[Result], seconds: float) -> str:
    counts = Counter(result.outcome for result in results)
    parts = [f"{counts[Outcome.HOLDS]} of {len(results)} hold"]
    if failed := counts[Outcome.FAILS]:
        parts.append("1 does not" if failed == 1 else f"{failed} do not")
    if skipped := counts[Outcome.SKIPPED]:
        parts.append(f"{skipped} skipped")
    return f"{', '.join(parts)}; {seconds:.0f} s"


def document(results: Sequence[Result]) -> str:
    """The same as JSON."""
    items = [
        {
            "name": result.name,
            "result": result.outcome.value,
            "seconds": round(result.seconds, 3),
            "seen": _with_logs(result),
            "advice": result.advice,
        }
        for result in results
    ]
    return json.dumps({"items": items}, indent=2, ensure_ascii=False)


def junit(results: Sequence[Result]) -> bytes:
    """The same as JUnit's XML."""
    counts = Counter(result.outcome for result in results)
    total = {"tests": len(results), "failures": counts[Outcome.FAILS], "skipped": counts[Outcome.SKIPPED], "errors": 0}
    figures = {name: str(value) for name, value in total.items()}
    root = ET.Element("testsuites")
    spent = f"{sum(result.seconds for result in results):.3f}"
    suite = ET.SubElement(root, "testsuite", {"name": "check-server", "time": spent, **figures})
    for result in results:
        _case(suite, result)
    return bytes(ET.tostring(root, encoding="utf-8", xml_declaration=True))


def _case(suite: ET.Element, result: Result) -> None:
    head = {"classname": "check-server", "name": result.name, "time": f"{result.seconds:.3f}"}
    case = ET.SubElement(suite, "testcase", head)
    seen = _printable(_with_logs(result))
    if result.outcome == Outcome.FAILS:
        ET.SubElement(case, "failure", message=seen).text = _printable(result.advice)
    elif result.outcome == Outcome.SKIPPED:
        ET.SubElement(case, "skipped", message=seen)
    else:
        ET.SubElement(case, "system-out").text = seen


def _with_logs(result: Result) -> str:
    return f"{result.seen}; logs: {result.logs}" if result.logs else result.seen


def _printable(text: str) -> str:
    """XML 1.0 cannot carry control characters, which a server's own words may have."""
    return "".join(char if char.isprintable() or char in "\n\t" else "\ufffd" for char in text)
