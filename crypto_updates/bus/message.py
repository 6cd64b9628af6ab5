"""What a message says: its event, and the id that its publisher gave it. Pure.

The CloudEvents attributes are those of the NATS binding:
https://github.com/cloudevents/spec/blob/main/cloudevents/bindings/nats-protocol-binding.md
"""

import base64
import re
from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import unquote_to_bytes

from crypto_updates.bus import event
from crypto_updates.bus.errors import InvalidEventError
from crypto_updates.bus.event import MSG_ID

# Percent-encoded an id has three times as many bytes, and proxies take about 8,000 in the line of a request.
MAX_ID_BYTES = 2048

# A structured CloudEvent has this in its Content-Type. The binding has JSON as its one format, named or not.
STRUCTURED = "application/cloudevents"
JSON = f"{STRUCTURED}+json"
# The attributes that every CloudEvent has (CloudEvents 1.0, "Required Attributes").
REQUIRED = ("specversion", "id", "source", "type")
SPECVERSION = "1.0"


class Message(NamedTuple):
    """`identity` is None if the publisher gave none."""

    identity: str | None
    event: dict[str, Any]


def read(headers: Mapping[str, str], body: bytes) -> Message:
    """Read anyone's message. Raises InvalidEventError, which names the key or header and what is wrong with it."""
    attributes = {name.lower(): value for name, value in headers.items()}
    media = attributes.get("content-type", "").partition(";")[0].strip().lower()
    if media.startswith(STRUCTURED):
        named, content = _unwrap(media, body)
        return Message(headers.get(MSG_ID) or named, content)
    try:
        return Message(headers.get(MSG_ID) or _named(attributes), event.parse(body))
    except InvalidEventError as error:
        if b'"specversion"' in body:
            raise InvalidEventError(f"{error} (a structured CloudEvent needs Content-Type: {JSON})") from error
        raise


def identity(headers: Mapping[str, str]) -> str | None:
    """Return the id in the headers, which stands also where the body cannot be read. Raises InvalidEventError."""
    return headers.get(MSG_ID) or _named({name.lower(): value for name, value in headers.items()})


def bounded(identity: str) -> str:
    """Return the id. Raises InvalidEventError if it has more than MAX_ID_BYTES."""
    if (size := len(identity.encode())) > MAX_ID_BYTES:
        raise InvalidEventError(f"id: {size} bytes, more than {MAX_ID_BYTES}: {event.shown(identity)}")
    return identity


def _named(attributes: Mapping[str, str]) -> str | None:
    """The id of a CloudEvent in binary mode."""
    if not attributes.get("ce-id") or not attributes.get("ce-source"):
        return None
    return _joined(*(_decoded(name, attributes[name]) for name in ("ce-source", "ce-id")))


def _decoded(name: str, value: str) -> str:
    """Unquote and percent-decode the value of a header, as the binding asks (3.1.3.2)."""
    value = value.strip()
    if re.fullmatch(r'".*"', value, re.DOTALL):
        value = re.sub(r"\\(.)", r"\1", value[1:-1], flags=re.DOTALL)
    try:
        return unquote_to_bytes(value).decode()
    except UnicodeDecodeError as error:
        raise InvalidEventError(f"{name}: {event.shown(value)} is not UTF-8 when percent-decoded") from error


def _joined(source: str, number: str) -> str:
    """Return the one id of an event that its source and its own id name together.

    No `#` is left in the source, so that no two pairs have one id, and no id of a feed has a colon before its `@`.
    """
    return f"ce:{source.replace('%', '%25').replace('#', '%23')}#{number}"


def _is_text(value: object) -> bool:
    return isinstance(value, str) and value != ""


def _unwrap(media: str, body: bytes) -> Message:
    """Read a CloudEvent in structured mode. The event is its data."""
    if media not in (STRUCTURED, JSON):
        raise InvalidEventError(f"Content-Type: {event.shown(media)}: the only CloudEvents format accepted is {JSON}")
    envelope = event.decode(body)
    if not isinstance(envelope, dict):
        raise InvalidEventError(f"body: {event.shown(envelope)} is not a CloudEvent")
    if problem := next((name for name in REQUIRED if not _is_text(envelope.get(name))), None):
        raise InvalidEventError(f"{problem}: {event.shown(envelope.get(problem))}; a CloudEvent needs a text there")
    if envelope["specversion"] != SPECVERSION:
        raise InvalidEventError(f"specversion: {event.shown(envelope['specversion'])} is not {SPECVERSION}")
    if ("data" in envelope) == ("data_base64" in envelope):
        raise InvalidEventError("data: a CloudEvent with an event has either data or data_base64")
    named = _joined(envelope["source"], envelope["id"])
    if "data" in envelope:
        return Message(named, event.check(envelope["data"], body, "data"))
    try:
        data = base64.b64decode(envelope["data_base64"], validate=True)
    except (ValueError, TypeError) as error:
        raise InvalidEventError("data_base64: not Base64") from error
    return Message(named, event.parse(data))
