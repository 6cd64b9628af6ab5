"""The server to judge."""

import json
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

from crypto_updates.bus.event import text

_NAME = re.compile(r"\{(\w+)\}")


class Candidate(NamedTuple):
    """How the server is started, what it listens to, and the URL to watch in place of MongoDB.

    `body`: of each event, byte for byte, but for a `timestamp` in it, which is each event's own. None for the project's
    own event. `{NAME}` in a value of `environ` stands for that variable of the harness.
    """

    command: Sequence[str]
    subject: str
    cwd: Path | None = None
    environ: Mapping[str, str] = {}
    body: str | None = None
    probe: str | None = None

    @property
    def has_identity(self) -> bool:
        """True if a copy of an event can be told from another event."""
        return self.body is None or self._timestamp is not None

    def event(self, slot: str) -> bytes | None:
        """The body of the event of this slot, or None for the project's own."""
        if self.body is None:
            return None
        given = self._timestamp
        return (self.body.replace(given, slot) if given else self.body).encode()

    def variables(self, harness: Mapping[str, str]) -> dict[str, str]:
        """Its own variables. Unknown names in braces stay as they are."""
        return {
            name: _NAME.sub(lambda found: harness.get(found[1], found[0]), value)
            for name, value in self.environ.items()
        }

    @property
    def _timestamp(self) -> str | None:
        try:
            found = json.loads(self.body or "")
        except ValueError:
            return None
        stamp = found.get("timestamp") if isinstance(found, dict) else None
        return stamp if isinstance(stamp, str) and stamp else None


def prices_at(slot: datetime, prices: Mapping[str, float | None]) -> dict[str, Any]:
    """What the worker's event has behind its time, for a server that takes the prices from there."""
    rest = {"market_cap": None, "change_24h": None, "currency": "usd", "updated_at": text(slot)}
    quotes = [{"coin": coin, "symbol": coin[:3].upper(), "price": price, **rest} for coin, price in prices.items()]
    return {"source": "simulated", "data": quotes, "fetched_at": text(slot)}
