"""What a service writes to standard output."""

import json
import logging
import sys
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from crypto_updates.service.log import MAX_MESSAGE_CHARS, JsonFormatter, TextFormatter, setup

NAMES = ("", "crypto_updates", "worker", "api_stub", "stack", "__main__")


@pytest.fixture
def _own_logging(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Lets `setup` work on the process's logging, and puts all back."""
    levels = {name: logging.getLogger(name).level for name in NAMES}
    monkeypatch.setattr(logging.root, "handlers", [])
    yield
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)


def record(message: str, *args: object) -> logging.LogRecord:
    made = logging.LogRecord("crypto_updates.bus.client", logging.WARNING, __file__, 1, message, args, None)
    made.created = datetime(2023, 11, 21, 14, 30, 0, 250_000, UTC).timestamp()
    return made


def test_a_json_line_has_time_level_logger_and_message() -> None:
    assert json.loads(JsonFormatter().format(record("Connected to %s after %d s", "nats://one", 3))) == {
        "time": "2023-11-21T14:30:00.250+00:00",
        "level": "warning",
        "logger": "crypto_updates.bus.client",
        "message": "Connected to nats://one after 3 s",
    }


def test_a_json_line_carries_the_trace_if_there_is_one() -> None:
    traced, untraced = record("Stored"), record("Stored")
    traced.traceparent, untraced.traceparent = "00-1-2-01", None
    assert json.loads(JsonFormatter().format(traced))["traceparent"] == "00-1-2-01"
    assert "traceparent" not in json.loads(JsonFormatter().format(untraced))
    assert TextFormatter().format(traced) == "Stored (warning)"


def test_a_message_of_several_lines_is_one_json_line() -> None:
    line = JsonFormatter().format(record('one\r\ntwo "three" é'))
    assert len(line.splitlines()) == 1
    assert json.loads(line)["message"] == 'one\r\ntwo "three" é'


def test_a_message_is_one_bounded_line_that_no_terminal_obeys() -> None:
    assert TextFormatter().format(record("%s: lost", "a\nb\x1b[2J\u202e")) == "a\ufffdb\ufffd[2J\ufffd: lost (warning)"
    long = record("x" * 1_000_000)
    cut = f"{'x' * MAX_MESSAGE_CHARS}... (1000000 characters)"
    assert TextFormatter().format(long) == f"{cut} (warning)"
    assert json.loads(JsonFormatter().format(long))["message"] == cut


def test_a_json_line_carries_the_traceback() -> None:
    failed = record("failed")
    try:
        raise LookupError("lost")  # noqa: TRY301 - a traceback is wanted
    except LookupError:
        failed.exc_info = sys.exc_info()
    lines = json.loads(JsonFormatter().format(failed))["exception"].splitlines()
    assert lines[0] == "Traceback (most recent call last):"
    assert lines[-1] == "LookupError: lost"


@pytest.mark.usefixtures("_own_logging")
def test_text_is_the_message_alone(capsys: pytest.CaptureFixture[str]) -> None:
    setup("info", "text")
    logging.getLogger("worker.tick").info("[PUBLISH] Sent crypto.update event at %s", "14:30:00")
    assert capsys.readouterr() == ("[PUBLISH] Sent crypto.update event at 14:30:00\n", "")


@pytest.mark.usefixtures("_own_logging")
def test_a_warning_and_an_error_are_seen_to_be_one_in_text_too(capsys: pytest.CaptureFixture[str]) -> None:
    setup("info", "text")
    logger = logging.getLogger("worker.tick")
    logger.warning("[MARKET] No data for %s", "14:30:00")
    try:
        raise LookupError("lost")  # noqa: TRY301 - a traceback is wanted
    except LookupError:
        logger.exception("[MARKET] No data")
    first, second, *rest = capsys.readouterr().out.splitlines()
    assert (first, second) == ("[MARKET] No data for 14:30:00 (warning)", "[MARKET] No data (error)")
    assert (rest[0], rest[-1]) == ("Traceback (most recent call last):", "LookupError: lost")


@pytest.mark.usefixtures("_own_logging")
def test_json_goes_to_standard_output_line_by_line(capsys: pytest.CaptureFixture[str]) -> None:
    setup("info", "json")
    for name in ("crypto_updates.bus.client", "api_stub.subscriber"):
        logging.getLogger(name).warning("said")
    out, err = capsys.readouterr()
    assert [json.loads(line)["logger"] for line in out.splitlines()] == [
        "crypto_updates.bus.client",
        "api_stub.subscriber",
    ]
    assert err == ""


@pytest.mark.usefixtures("_own_logging")
@pytest.mark.parametrize(("level", "said"), [("debug", 4), ("info", 3), ("warning", 2), ("error", 1)])
def test_the_level_is_that_of_our_loggers(level: str, said: int, capsys: pytest.CaptureFixture[str]) -> None:
    setup(level, "text")
    for name in (
        "crypto_updates.bus.client",
        "worker.tick",
        "api_stub.store",
        "stack.setup.users",
        "stack.demo",
        "__main__",
    ):
        logger = logging.getLogger(name)
        for speak in (logger.debug, logger.info, logger.warning, logger.error):
            speak("said")
        assert len(capsys.readouterr().out.splitlines()) == said


@pytest.mark.usefixtures("_own_logging")
def test_libraries_speak_from_warning_on_whatever_the_level(capsys: pytest.CaptureFixture[str]) -> None:
    setup("debug", "text")
    library = logging.getLogger("httpx")
    library.info("chatter")
    library.warning("trouble")
    assert capsys.readouterr().out == "trouble (warning)\n"
