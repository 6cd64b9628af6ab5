from datetime import timedelta
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field

from api_stub.mongo import check
from crypto_updates.bus.config import BusSettings
from crypto_updates.bus.spans import SpanSettings
from crypto_updates.clock import span
from crypto_updates.clock.timetable import Timetable
from crypto_updates.service.config import ServiceSettings, Words


def _parsed(url: str) -> str:
    check(url)
    return url


def _age(age: object) -> object:
    if isinstance(age, str):
        age = span.parse(age)
        if age is None or not LEAST_AGE <= age <= GREATEST_AGE:
            raise ValueError
    return age


# MongoDB looks once a minute, and counts the seconds in 32 bits.
LEAST_AGE, GREATEST_AGE = timedelta(minutes=1), timedelta(days=24_855)
MongoUrl = Annotated[str, Field(pattern=r"^mongodb(\+srv)?://[^/\s]"), AfterValidator(_parsed)]


class StoreSettings(ServiceSettings):
    mongo_url: MongoUrl = Field(
        "mongodb://localhost:27017", repr=False, description="mongodb://host:27017 or mongodb+srv://host"
    )
    mongo_db: str = Field(
        "crypto",
        pattern="^[A-Za-z0-9_-]{1,63}$",
        description="a database name of letters, digits, _ and -, 63 at most",
    )
    max_event_age: Annotated[timedelta | None, BeforeValidator(_age)] = Field(
        None, description=f"{span.FORMS}: from 1m to 24855d, or nothing to keep all events"
    )


class ApiSettings(Timetable, StoreSettings, BusSettings, SpanSettings):
    mongo_reader_url: MongoUrl | None = Field(
        None, repr=False, description="mongodb://host:27017 or mongodb+srv://host, or nothing for MONGO_URL"
    )
    http_host: str = Field("127.0.0.1", min_length=1, description="an address of this machine, 0.0.0.0 for all")
    http_allowed_hosts: Words | None = Field(None, description="host names separated by commas, * for all")
    http_port: int = Field(8080, ge=1, le=65535, description="a port from 1 to 65535")
    batch_size: int = Field(500, ge=1, le=5000, description="a whole number from 1 to 5000")
    max_events_per_second: float | None = Field(
        None, gt=0, allow_inf_nan=False, description="a number above 0, or nothing for no limit"
    )

    @property
    def batch(self) -> int:
        """How many events to take at once: at most a second's worth, so that none waits longer than the ack wait."""
        return min(self.batch_size, max(1, int(self.max_events_per_second or self.batch_size)))
