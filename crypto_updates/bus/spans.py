"""Spans of what a service publishes and processes, while OpenTelemetry's variables are set.

Without the variables, or without the packages of the extra `otel`, nothing of OpenTelemetry is imported.
"""

import importlib
import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, model_validator

from crypto_updates.bus import trace
from crypto_updates.bus.delivery import Delivery
from crypto_updates.service import environment
from crypto_updates.service.config import ConfigError, ServiceSettings

if TYPE_CHECKING:
    from crypto_updates.bus.otel import Tracer

log = logging.getLogger(__name__)

_tracer: "Tracer | None" = None


def _endpoint(url: str) -> str:
    try:
        part = urlsplit(url)
        good = part.scheme in {"http", "https"} and part.hostname and part.port != 0
    except ValueError:
        good = False
    if not good:
        raise ValueError  # without its cause, which may show a part of a password
    return url


Endpoint = Annotated[str, AfterValidator(_endpoint)] | None
ENDPOINT = "http://host:4318 or https://host"
# Each asks for spans.
WANTED = ("otel_traces_exporter", "otel_exporter_otlp_endpoint", "otel_exporter_otlp_traces_endpoint")
Lower = BeforeValidator(lambda value: value.lower() if isinstance(value, str) else value)


class SpanSettings(ServiceSettings):
    """Those of OpenTelemetry's variables that decide whether there are spans, and where they go. It reads more."""

    otel_exporter_otlp_endpoint: Endpoint = Field(None, repr=False, description=ENDPOINT)
    otel_exporter_otlp_traces_endpoint: Endpoint = Field(None, repr=False, description=f"{ENDPOINT}, with the path")
    otel_exporter_otlp_headers: SecretStr | None = None
    otel_exporter_otlp_protocol: Literal["http/protobuf"] | None = Field(None, description="http/protobuf")
    otel_traces_exporter: Literal["otlp", "none"] | None = Field(None, description="otlp or none")
    otel_sdk_disabled: Annotated[Literal["true", "false"], Lower] | None = Field(None, description="true or false")

    @model_validator(mode="before")
    @classmethod
    def _only_if_wanted(cls, values: dict[str, Any]) -> dict[str, Any]:
        """Without spans none of the variables matters: a machine may have them for other programs, in other forms."""
        off = str(values.get("otel_sdk_disabled")).lower() == "true" or values.get("otel_traces_exporter") == "none"
        if off or not any(map(values.get, WANTED)):
            return {name: value for name, value in values.items() if not name.startswith("otel_")}
        return values

    @property
    def has_spans(self) -> bool:
        return any(getattr(self, name) for name in WANTED)

    def variables(self) -> dict[str, str]:
        """What OpenTelemetry should find in the environment: it reads neither `.env` nor a NAME_FILE."""
        found = {name: text for name, text in environment.read().values.items() if name.startswith("OTEL_")}
        for name in SpanSettings.model_fields.keys() - ServiceSettings.model_fields.keys():
            if value := getattr(self, name):
                found[name.upper()] = value.get_secret_value() if isinstance(value, SecretStr) else value
        return found


@contextmanager
def exported(service: str, settings: SpanSettings) -> Iterator[None]:
    """Meanwhile, make spans and export them if the settings ask for it. Raises ConfigError."""
    global _tracer  # noqa: PLW0603 - a process has one, as it has one log
    _tracer = _open(service, settings) if settings.has_spans else None
    try:
        yield
    finally:
        if _tracer:
            _tracer.close()
        _tracer = None


def _open(service: str, settings: SpanSettings) -> "Tracer | None":
    try:
        otel = importlib.import_module("crypto_updates.bus.otel")
    except ModuleNotFoundError as error:
        log.warning("[OTEL] No spans: %s; install crypto-updates[otel], or unset the OTEL_ variables", error)
        return None
    os.environ.update(settings.variables())
    try:
        tracer: Tracer = otel.Tracer(service)
    except ValueError as error:
        raise ConfigError(f"OTEL_...: {error}; accepted: what OpenTelemetry's SDK for Python accepts") from error
    log.info("[OTEL] Exporting spans as %s", service)
    return tracer


@contextmanager
def publishing(messages: Sequence[tuple[str, bytes]]) -> Iterator[str]:
    """Yield the traceparent for these messages of one event, each an id and a body, which are published meanwhile."""
    if _tracer is None:
        yield trace.fresh()
        return
    with _tracer.publishing(messages) as traceparent:
        yield traceparent


@contextmanager
def processing(batch: Sequence[Delivery]) -> Iterator[dict[Delivery, str]]:
    """Yield where to note what is wrong with a message of the batch, which is processed meanwhile."""
    problems: dict[Delivery, str] = {}
    if _tracer is None:
        yield problems
        return
    with _tracer.processing(batch, problems):
        yield problems
