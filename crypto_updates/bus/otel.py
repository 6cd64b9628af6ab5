"""The one module that imports OpenTelemetry. Names and attributes follow its conventions for messaging:

https://opentelemetry.io/docs/specs/semconv/messaging/messaging-spans/
"""

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Span, SpanKind, StatusCode, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from crypto_updates import __version__
from crypto_updates.bus import trace
from crypto_updates.bus.delivery import Delivery
from crypto_updates.bus.event import MSG_ID, SUBJECT
from crypto_updates.bus.stream import DURABLE
from crypto_updates.service import errors, lifecycle

FLUSH_SECONDS = 1.0
# Of a text that somebody else gave.
MAX_CHARS = 200
# Of the spans whose message is no event.
DEAD_LETTER = "dead_letter"
Attributes = dict[str, str | int]


class Tracer:
    def __init__(self, service: str) -> None:
        """`service`: its name, unless a variable gives another. Raises ValueError if a variable is refused."""
        names = {"service.name": service, "service.namespace": "crypto-updates", "service.version": __version__}
        resource = Resource.create(names).merge(OTELResourceDetector().detect())
        self._provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        self._tracer = self._provider.get_tracer("crypto_updates", __version__)
        self._propagator = TraceContextTextMapPropagator()

    def close(self) -> None:
        """Export what waits. A collector that does not answer is given up."""
        flush = threading.Thread(target=self._provider.shutdown, daemon=True)
        flush.start()
        flush.join(lifecycle.left(FLUSH_SECONDS))

    @contextmanager
    def publishing(self, messages: Sequence[tuple[str, bytes]]) -> Iterator[str]:
        """One span for all parts of an event. Yields its traceparent."""
        attributes = _attributes(SUBJECT, "publish", "send", sum(len(body) for _, body in messages))
        if len(messages) > 1:
            attributes["messaging.batch.message_count"] = len(messages)
        else:
            attributes["messaging.message.id"] = messages[0][0][:MAX_CHARS]
        span = self._tracer.start_span(f"publish {SUBJECT}", Context(), SpanKind.PRODUCER, attributes)
        carrier: dict[str, str] = {}
        self._propagator.inject(carrier, set_span_in_context(span, Context()))
        with _ending([span]):
            yield carrier[trace.TRACEPARENT]

    @contextmanager
    def processing(self, batch: Sequence[Delivery], problems: Mapping[Delivery, str]) -> Iterator[None]:
        """A span for each message, whose parent is the one that published it. Those with a problem have failed."""
        spans = [self._begin(delivery) for delivery in batch]
        with _ending(spans):
            yield
            for delivery, span in zip(batch, spans, strict=True):
                if problem := problems.get(delivery):
                    _fail(span, DEAD_LETTER, problem)

    def _begin(self, delivery: Delivery) -> Span:
        subject = delivery.message.subject
        attributes = _attributes(subject, "process", "process", len(delivery.body))
        attributes["messaging.consumer.group.name"] = DURABLE
        if identity := delivery.headers.get(MSG_ID):
            attributes["messaging.message.id"] = identity[:MAX_CHARS]
        parent = self._parent(delivery.headers)
        return self._tracer.start_span(f"process {subject}", parent, SpanKind.CONSUMER, attributes)

    def _parent(self, headers: Mapping[str, str]) -> Context:
        """What the headers name, or nothing: then the span begins a trace."""
        carrier = {trace.TRACEPARENT: trace.given(headers) or "", "tracestate": headers.get("tracestate", "")}
        return self._propagator.extract(carrier, Context())


@contextmanager
def _ending(spans: Sequence[Span]) -> Iterator[None]:
    """End the spans. They have failed if the work between was not done, also because it was cancelled."""
    try:
        yield
    except BaseException as error:
        for span in spans:
            _fail(span, type(error).__qualname__, errors.text(error))
        raise
    finally:
        for span in spans:
            span.end()


def _fail(span: Span, kind: str, problem: str) -> None:
    span.set_attribute("error.type", kind)
    span.set_status(StatusCode.ERROR, problem[:MAX_CHARS])


def _attributes(subject: str, name: str, kind: str, size: int) -> Attributes:
    return {
        "messaging.system": "nats",
        "messaging.destination.name": subject,
        "messaging.operation.name": name,
        "messaging.operation.type": kind,
        "messaging.message.body.size": size,
    }
