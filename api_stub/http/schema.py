"""The HTTP API's parameters with their bounds, and its answers."""

import re
from datetime import datetime
from typing import Annotated, Literal

from fastapi import Path, Query
from pydantic import AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field

from api_stub.query import CURSOR
from crypto_updates.bus import instant
from crypto_updates.bus.event import MAX_COIN_CHARACTERS
from crypto_updates.clock.slots import Cell


def _iso(value: object) -> datetime:
    # In a URL, the plus sign of an offset is a space.
    return instant.parse(re.sub(r"([Tt ]\S+) (?=\d\d(:?\d\d)?$)", r"\1+", str(value)))


Instant = Annotated[AwareDatetime, BeforeValidator(_iso)]
Limit = Annotated[int, Query(ge=1, le=500, description="how many at most")]
Cursor = Annotated[str | None, Query(pattern=CURSOR, description="`next` of the page before")]
Since = Annotated[Instant | None, Query(description="slots from this time on")]
Until = Annotated[Instant | None, Query(description="slots before this time")]
Coin = Annotated[str, Query(min_length=1, max_length=MAX_COIN_CHARACTERS, description="a coin's id, such as bitcoin")]
Identity = Annotated[str, Path(description="an event's `_id`")]
Id = Annotated[str | None, Query(description="an event's `_id`, also one that no path can hold: `stream`, `..`")]
Points = Annotated[int, Query(ge=2, le=2000, description="about how many prices")]
Hours = Annotated[float, Query(ge=0.01, le=168, description="how far back to look")]
Cells = Annotated[int, Query(ge=1, le=2000, description="how many of the newest slots to name")]


class Event(BaseModel):
    """An event as it is stored. It may be anyone's, so its other keys may be anything."""

    model_config = ConfigDict(extra="allow")

    id: str = Field(alias="_id")
    event: str
    timestamp: datetime
    received_at: datetime
    stream_seq: int | None


class Events(BaseModel):
    """Newest first. `next` is the cursor of the next page, or null."""

    events: list[Event]
    next: str | None


class Coins(BaseModel):
    coins: list[str]


class Stats(BaseModel):
    """The newest quote. A value is null if its source has none, or something that is no number."""

    # The field has the name in the quote, the alias the one in the answer.
    price: float | None
    market_cap: float | None = Field(alias="marketCap")
    change_24h: float | None = Field(alias="24hChange")


class Deviation(BaseModel):
    deviation: float | None = Field(description="null if it is larger than any float")


class Price(BaseModel):
    timestamp: datetime
    price: float


class Prices(BaseModel):
    """Oldest first: the newest price of each `step` (seconds), or every price if `step` is 0."""

    coin: str
    since: datetime
    until: datetime
    step: float
    prices: list[Price]


class Slots(BaseModel):
    feed: str
    schedule: str
    zone: str
    words: str = Field(description="the schedule, for people")
    now: datetime
    since: datetime
    next: datetime = Field(description="the next slot")
    beginning: datetime | None = Field(description="the first slot of all, or of those that are kept")
    max_event_age: float | None = Field(description="seconds after its slot an event goes, null if never")
    expected: int
    stored: int = Field(description="late ones included")
    late: int
    missing: int
    slots: list[Cell] = Field(description="oldest first")


class DeadLetter(BaseModel):
    id: str = Field(alias="_id")
    reason: str
    headers: dict[str, str] | None = Field(description="null if they have more than 16 KiB")
    stream_seq: int | None
    received_at: datetime
    size: int | None = Field(description="bytes of the body")
    raw: str | None = Field(description="the start of the body, or null if it has more than 16 KiB")


class DeadLetters(BaseModel):
    dead_letters: list[DeadLetter]
    next: str | None


class Station(BaseModel):
    ok: bool | None = Field(description="null if it is not known")
    reason: str | None = Field(description="what is wrong")


class WorkerStation(Station):
    slot: datetime | None = Field(description="the newest slot that is stored")
    lag: float | None = Field(description="seconds from that slot until it was stored")


class NatsStation(Station):
    messages: int | None
    last_seq: int | None
    pending: int | None = Field(description="events that wait in the stream")
    ack_pending: int | None
    redelivered: int | None


class ApiStubStation(Station):
    stored: int = Field(description="events that this API stub has stored since its start")


class MongoStation(Station):
    events: int | None
    dead_letters: int | None


class State(BaseModel):
    now: datetime
    feed: str
    schedule: str
    zone: str
    words: str = Field(description="the schedule, for people")
    last: datetime = Field(description="the slot that was due last")
    next: datetime
    worker: WorkerStation
    nats: NatsStation
    api_stub: ApiStubStation
    mongo: MongoStation


class Ready(BaseModel):
    status: Literal["ready"]
    warnings: list[str] = Field(default=[], description="what works less well than it should")


class Unready(BaseModel):
    status: Literal["not ready"]
    reasons: list[str]
