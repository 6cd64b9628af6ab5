"""The forms of an export. Values are as in the HTTP API (docs/http-api.md): numbers have all their digits. Pure."""

import csv
import io
import json
from collections.abc import Iterator, Mapping
from typing import Any, Protocol

from api_stub.codec import encode

Event = Mapping[str, Any]

# `source` is the quote's own where an event has two sources.
OF_EVENT = ("_id", "timestamp", "source", "fetched_at", "received_at", "stream_seq", "traceparent")
OF_QUOTE = ("coin", "symbol", "price", "market_cap", "change_24h", "currency", "updated_at")


class Form(Protocol):
    def head(self) -> bytes: ...

    def line(self, event: Event) -> bytes: ...


class Ndjson:
    """An event a line, with all of its keys."""

    def head(self) -> bytes:
        return b""

    def line(self, event: Event) -> bytes:
        return encode(event) + b"\n"


class Csv:
    """A quote a line. An event without quotes is a line, too."""

    def __init__(self) -> None:
        self._text = io.StringIO()
        # As in RFC 4180. With "\n", Python would not quote a text that has a "\r", and readers would end its row there.
        self._writer = csv.writer(self._text, lineterminator="\r\n")

    def head(self) -> bytes:
        return self._encoded([[*OF_EVENT, *OF_QUOTE]])

    def line(self, event: Event) -> bytes:
        return self._encoded(_rows(event))

    def _encoded(self, rows: "Iterator[list[str]] | list[list[str]]") -> bytes:
        self._text.seek(0)
        self._text.truncate()
        self._writer.writerows(rows)
        return self._text.getvalue().encode()


FORMS: dict[str, type[Form]] = {"ndjson": Ndjson, "csv": Csv}


def _rows(event: Event) -> Iterator[list[str]]:
    data, own = event.get("data"), [_cell(event.get(name)) for name in OF_EVENT]
    # Anyone may have sent the event, so `data` may be anything.
    quotes = [quote for quote in data if isinstance(quote, dict)] if isinstance(data, list) else []
    for quote in quotes or [{}]:
        row = [*own, *(_cell(quote.get(name)) for name in OF_QUOTE)]
        if "source" in quote:
            row[OF_EVENT.index("source")] = _cell(quote["source"])
        yield row


def _cell(value: object) -> str:
    """Text as it is, nothing for null, and anything else as in JSON, without the quotes of a text."""
    if value is None or isinstance(value, str):
        return value or ""
    text = encode(value).decode()
    return str(json.loads(text)) if text.startswith('"') else text
