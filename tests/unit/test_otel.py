"""What spans say of work that fails, and how much of others' texts they hold."""

import asyncio
from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import NoReturn

import pytest
from nats.aio.client import Client
from nats.aio.msg import Msg
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

from crypto_updates.bus import otel
from crypto_updates.bus.delivery import Delivery
from crypto_updates.bus.otel import Tracer

LONG = "x" * 1_000


class Spans:
    """A tracer, and the spans that it exports."""

    def __init__(self, exporter: InMemorySpanExporter) -> None:
        self._exporter = exporter
        self.tracer = Tracer("worker")

    def one(self) -> ReadableSpan:
        self.tracer.close()
        (span,) = self._exporter.get_finished_spans()
        return span


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> Iterator[Spans]:
    exporter = InMemorySpanExporter()
    monkeypatch.setattr(otel, "OTLPSpanExporter", lambda: exporter)
    spans = Spans(exporter)
    yield spans
    spans.tracer.close()


def delivery(identity: str) -> Delivery:
    return Delivery.of(Msg(Client(), "crypto.updates", "", b"{}", {"Nats-Msg-Id": identity}))


def failing(work: AbstractContextManager[object], error: BaseException) -> NoReturn:
    with work:
        raise error


def work(spans: Spans, name: str) -> AbstractContextManager[object]:
    if name == "publish":
        return spans.tracer.publishing([("crypto@x", b"{}")])
    return spans.tracer.processing([delivery("crypto@x")], {})


@pytest.mark.parametrize("name", ["publish", "process"])
@pytest.mark.parametrize(
    ("error", "kind", "problem"),
    [
        (asyncio.CancelledError(), "CancelledError", "CancelledError"),
        (ValueError("is " + LONG), "ValueError", "is " + LONG[:197]),
    ],
    ids=["cancelled", "failed"],
)
def test_a_span_of_work_that_was_not_done_has_failed_and_says_why(
    spans: Spans, name: str, error: BaseException, kind: str, problem: str
) -> None:
    with pytest.raises(type(error)):
        failing(work(spans, name), error)
    span = spans.one()
    assert (span.name, span.status.status_code) == (f"{name} crypto.updates", StatusCode.ERROR)
    assert span.status.description == problem
    assert (span.attributes or {})["error.type"] == kind


@pytest.mark.parametrize("name", ["publish", "process"])
def test_a_span_of_work_that_was_done_has_not_failed(spans: Spans, name: str) -> None:
    with work(spans, name):
        pass
    span = spans.one()
    assert span.status.status_code is StatusCode.UNSET
    assert "error.type" not in (span.attributes or {})


def test_the_span_of_a_dead_letter_has_failed_and_holds_the_beginning_of_its_texts(spans: Spans) -> None:
    letter = delivery(LONG)
    with spans.tracer.processing([letter], {letter: LONG}):
        pass
    span, attributes = (found := spans.one()), found.attributes or {}
    assert (span.status.status_code, span.status.description) == (StatusCode.ERROR, LONG[:200])
    assert (attributes["error.type"], attributes["messaging.message.id"]) == ("dead_letter", LONG[:200])
