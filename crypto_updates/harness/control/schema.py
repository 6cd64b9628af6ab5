"""What the control port takes and answers."""

import json
from collections.abc import Callable
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import (
    AwareDatetime,
    Base64Bytes,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    JsonValue,
    StrictInt,
    ValidationError,
    WrapValidator,
    model_validator,
)

from crypto_updates.bus import instant
from crypto_updates.bus.config import Subject
from crypto_updates.bus.event import SUBJECT
from crypto_updates.harness.bodies import INVALID

MAX_SECONDS = 3600.0
Seconds = Annotated[float, Field(strict=True, ge=0, le=MAX_SECONDS, allow_inf_nan=False)]
Price = Annotated[float, Field(strict=True, allow_inf_nan=False)]
Slot = Annotated[AwareDatetime, BeforeValidator(lambda value: instant.parse(str(value)))]
HeaderName = Annotated[str, Field(pattern=r"^[!-9;-~]+$")]
HeaderText = Annotated[str, Field(pattern=r"^[^\r\n]*$")]
VariableName = Annotated[str, Field(pattern=r"^[A-Z_][A-Z0-9_]*$")]
VariableText = Annotated[str, Field(pattern=r"^[^\u0000]*$")]


def _clock(value: object, check: Callable[[object], float | str]) -> float | str:
    """One error for both forms."""
    try:
        return check(value)
    except ValidationError as error:
        raise ValueError("a number above 0, or a time as libfaketime reads it") from error


ClockPace = Annotated[float, Field(strict=True, gt=0, allow_inf_nan=False)]


class Strict(BaseModel):
    """A body in which a key that is not known is an error, because it is probably a mistyped one."""

    model_config = ConfigDict(extra="forbid")

    @model_validator(mode="before")
    @classmethod
    def _has_whole_characters(cls, body: object) -> object:
        try:
            json.dumps(body, ensure_ascii=False).encode()
        except (UnicodeEncodeError, RecursionError) as error:
            raise ValueError("JSON of some hundred levels at most, and no half of a surrogate pair") from error
        return body


class Message(Strict):
    """What to publish: an event, or one of `body`, `base64` and `invalid`."""

    slot: Slot | None = Field(None, description="the event's time; nothing: one that no event has had yet")
    fields: dict[str, JsonValue] = Field({}, description="more keys of the event", examples=[{"source": "mine"}])
    body: JsonValue = Field(None, description="a text is sent as it is, anything else as JSON")
    base64: Base64Bytes | None = Field(None, description="a body that is no text")
    invalid: Literal[tuple(INVALID)] | None = Field(None, description="a body that is no event")  # type: ignore[valid-type]  # mypy reads no tuple
    copies: StrictInt = Field(1, ge=1, le=1000)
    msg_id: HeaderText | None = Field(None, description="Nats-Msg-Id; nothing: that of the slot; an empty text: none")
    headers: dict[HeaderName, HeaderText] = {}
    subject: Subject = SUBJECT


class Receipt(BaseModel):
    seq: int | None = Field(description="in the stream; null on a subject that no stream has")
    duplicate: bool = Field(description="the stream had it already")


class Client(BaseModel):
    """`lang` and `version`: the client library's."""

    cid: int
    name: str
    lang: str
    version: str


class Subscription(BaseModel):
    subject: str
    queue: str
    consumer: str = Field(description="of JetStream; empty: a plain subscriber")
    client: Client | None = Field(description="null for a JetStream consumer")


class Published(BaseModel):
    subject: str
    body: str = Field(description="as UTF-8, with U+FFFD for what is none")
    headers: dict[str, str]
    at: float = Field(description="seconds, by the same clock as `seen_at` of a reaction")


class Reaction(BaseModel):
    """A write to MongoDB. Of an update, `document` has the fields that it set. Ids and decimals are texts."""

    operation: Literal["insert", "update", "replace", "delete"]
    database: str
    collection: str
    key: Any
    document: dict[str, Any]
    written_at: datetime = Field(description="by MongoDB's clock")
    seen_at: float = Field(description="seconds, by the same clock as `at` of a message")


Seen = list[Subscription] | list[Published] | list[Reaction]


class Wanted(Strict):
    """What to wait for. With `still`, there may be no more than `count` for so long afterwards."""

    what: Literal["subscribers", "published", "reactions"]
    subject: Subject | None = Field(None, description="of the subscribers (crypto.updates), or of the messages (any)")
    count: StrictInt = Field(1, ge=0, description="how many at least")
    within: Seconds = 10.0
    still: Seconds = Field(0.0, description="and then no more than `count` for so long")


class Clock(Strict):
    """The real worker of Crypto Updates, which replaces the one before."""

    schedule: VariableText | None = Field("*/15 * * * *", description="cron; null: stop the worker")
    clock: Annotated[ClockPace | VariableText, WrapValidator(_clock)] | None = Field(
        None, description="how many times as fast as the real clock, or a time as libfaketime reads it", examples=[900]
    )
    environ: dict[VariableName, VariableText] = Field(
        {}, description="more variables", examples=[{"TRIGGER_SUBJECT": "crypto.update"}]
    )


class MarketChange(Strict):
    """Only what is given changes."""

    prices: dict[str, Price | None] = Field(
        {}, description="by CoinGecko's id; null: not known", examples=[{"bitcoin": 41234.5}]
    )
    status: StrictInt = Field(200, ge=200, le=599, description="of all answers")
    delay: Seconds | None = Field(0.0, description="of all answers; null: never")
    body: str | None = Field(None, description="of all answers; null: its own")


class Request(BaseModel):
    path: str
    query: dict[str, str]


class MarketState(BaseModel):
    url: str
    prices: dict[str, float | None]
    status: int
    delay: float | None
    body: str | None
    requests: list[Request] = Field(description="what it was asked, oldest first")
