"""What goes over NATS, as an AsyncAPI document of version 3.0.0. Pure."""

from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit

import msgspec

from crypto_updates import __version__
from crypto_updates.bus import event, message, trace
from crypto_updates.bus.config import BusSettings
from crypto_updates.bus.event import MSG_ID, NAME, PUBLICATION, SUBJECT, Event, Quote, encode
from crypto_updates.bus.stream import DURABLE, STREAM
from crypto_updates.contract.json_schema import ANYONES, Json, schemas

_BINDING = "0.1.0"

_SLOT = datetime(2023, 11, 21, 14, 30, tzinfo=UTC)
_TRACEPARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
_QUOTE = Quote(
    coin="bitcoin",
    symbol="btc",
    price=37409.0,
    market_cap=731325164829.0,
    change_24h=-0.25,
    currency="usd",
    updated_at=_SLOT - timedelta(seconds=40),
)
_EXAMPLES = {
    "with data": Event(timestamp=_SLOT, source="coingecko", data=(_QUOTE,), fetched_at=_SLOT + timedelta(seconds=1)),
    "without data": Event(timestamp=_SLOT + timedelta(minutes=15)),
}
# What most servers wait for that do not wait for the event.
_TRIGGER_SUBJECT, _TRIGGER_BODY = "crypto.update", {"trigger": "update"}


def document() -> Json:
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Crypto Updates",
            "version": __version__,
            "description": "Every 15 minutes, or at the times of another schedule, an event with the prices of coins.",
            "license": {"name": "MIT"},
        },
        "defaultContentType": "application/json",
        "servers": {"nats": _server()},
        "channels": _channels(),
        "operations": _operations(),
        "components": {"messages": _messages(), "schemas": schemas("#/components/schemas/")},
    }


def _server() -> Json:
    return {
        "host": urlsplit(BusSettings.model_fields["nats_url"].default[0]).netloc,
        "protocol": "nats",
        "description": "The default of NATS_URL. Compose's server asks for a user and a password, which"
        " `crypto-updates connect` prints.",
    }


def _channels() -> Json:
    return {
        "events": {
            "address": SUBJECT,
            "description": f"A plain subscriber hears each event once. The stream {STREAM} of JetStream keeps the"
            " events for those who were not there.",
            "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in ("event", "anyEvent")},
        },
        "trigger": {
            "address": _TRIGGER_SUBJECT,
            "description": f"For servers that wait on another subject than {SUBJECT}. The variable TRIGGER_SUBJECT of"
            f" the worker names the subject, such as {_TRIGGER_SUBJECT}. Without it, nothing is sent here.",
            "messages": {"trigger": {"$ref": "#/components/messages/trigger"}},
        },
    }


def _operations() -> Json:
    return {
        "sendEvent": _operation("send", "events", "event", "The worker publishes the event of each slot."),
        "receiveEvent": _operation(
            "receive",
            "events",
            "anyEvent",
            "The API stub stores each event once, and anything else as a dead letter. It reads the stream. Without"
            " JetStream it subscribes in this queue group.",
            queue=DURABLE,
        ),
        "sendTrigger": _operation(
            "send",
            "trigger",
            "trigger",
            "The worker sends this once for each event that the stream took as new, in core NATS, without headers and"
            " without a reply subject.",
        ),
    }


def _operation(action: str, channel: str, name: str, summary: str, **binding: str) -> Json:
    return {
        "action": action,
        "summary": summary,
        "channel": {"$ref": f"#/channels/{channel}"},
        "messages": [{"$ref": f"#/channels/{channel}/messages/{name}"}],
        "bindings": {"nats": {**binding, "bindingVersion": _BINDING}},
    }


def _messages() -> Json:
    """Each with examples, because Microcks makes its mocks from them."""
    return {
        "event": {
            "name": NAME,
            "title": "The worker's event",
            "headers": _headers(),
            "payload": {"$ref": "#/components/schemas/Event"},
            "examples": [
                {"name": name, "headers": _sent(example.timestamp), "payload": msgspec.json.decode(encode(example))}
                for name, example in _EXAMPLES.items()
            ],
        },
        "anyEvent": {
            "name": NAME,
            "title": "Anyone's event",
            "headers": {"type": "object", "description": _ANY_HEADERS},
            "payload": {"$ref": "#/components/schemas/AnyEvent"},
            "examples": [{"name": "anyone's", "headers": {MSG_ID: "any id"}, "payload": ANYONES}],
        },
        "trigger": {
            "title": "The trigger",
            "payload": {"description": "The variable TRIGGER_BODY. Without it, the body of the event."},
            "examples": [{"name": "update", "payload": _TRIGGER_BODY}],
        },
    }


def _sent(slot: datetime, feed: str = "crypto", traceparent: str = _TRACEPARENT) -> dict[str, str]:
    return event.headers(feed, slot, event.identity(feed, slot), traceparent)


def _headers() -> Json:
    """The worker's. What is the same for another feed and slot is a constant."""
    one, other = _sent(_SLOT), _sent(_SLOT + timedelta(minutes=15), "other", trace.fresh())
    about = {name: {"const": one[name]} if one[name] == other[name] else {"description": _ABOUT[name]} for name in one}
    properties = {name: {"type": "string", **more} for name, more in (about | _FOR_THE_BUS).items()}
    return {"type": "object", "properties": properties, "required": [*one]}


_ABOUT = {
    MSG_ID: "The id: `<feed>@<slot>`, and `#n` behind it for part n of an event that is too large for one message. The"
    " stream drops a second event with the same id, and it is `_id` in MongoDB.",
    "ce-id": f"The same as {MSG_ID}",
    "ce-source": "`/crypto-updates/<feed>`",
    "ce-time": "The slot",
    trace.TRACEPARENT: "The trace that the publication begins (W3C Trace Context): the same in all parts of an event"
    " and in each retry of one worker. Another worker's copy, which the stream drops, has another.",
}
# Readers need none of these.
_FOR_THE_BUS = {
    PUBLICATION: {"description": "One act of publishing: the same in each retry of one worker"},
    "Nats-Expected-Stream": {"const": STREAM, "description": "For the server, if it has JetStream"},
}
_ANY_HEADERS = (
    f"None is needed. The id is {MSG_ID}. Without it, it is ce-source and ce-id together; without these, the place in"
    f" the stream. It has at most {message.MAX_ID_BYTES} bytes. With `Content-Type: {message.JSON}`, the body is a"
    f" CloudEvent in structured mode, and its data is the event. A valid {trace.TRACEPARENT} is kept with the event."
)
