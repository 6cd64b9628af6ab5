"""When slots are, and how long a fetch may take: settings of both services."""

from datetime import datetime, timedelta
from functools import cached_property, lru_cache
from typing import Annotated

from pydantic import AfterValidator, Field

from crypto_updates.clock.cron import Cron
from crypto_updates.service.config import ServiceSettings

# The share of the time to the next slot. So slots never queue up behind a slow market.
FETCH_SHARE = 0.5
MAX_FETCH_SECONDS = 240.0
# An event that comes this long after its slot was published by hand.
BY_HAND = timedelta(days=1)
# A quote may be this much older than its slot. The longer of the two counts.
MAX_QUOTE_AGE, MAX_QUOTE_AGE_INTERVALS = timedelta(days=1), 4
FEED_PATTERN, FEED_FORM = "^[A-Za-z0-9_-]{1,64}$", "letters, digits, _ and -, 64 at most"


def _schedule(expression: str) -> str:
    Cron(expression)
    return expression


def _zone(name: str) -> str:
    Cron("@hourly", name)
    return name


class Timetable(ServiceSettings):
    schedule: Annotated[str, AfterValidator(_schedule)] = Field(
        "*/15 * * * *", description="5 cron fields, 6 with seconds first, or @hourly and its like"
    )
    schedule_tz: Annotated[str, AfterValidator(_zone)] = Field(
        "UTC", description="an IANA time zone, such as Europe/Berlin"
    )
    feed: str = Field("crypto", pattern=FEED_PATTERN, description=FEED_FORM)

    @cached_property
    def cron(self) -> Cron:
        return Cron(self.schedule, self.schedule_tz)

    @property
    def names(self) -> dict[str, str]:
        """The feed and the schedule as the HTTP API names them."""
        return {"feed": self.feed, "schedule": self.schedule, "zone": self.schedule_tz, "words": self.cron.words}


def budget(cron: Cron, slot: datetime) -> float:
    """Seconds that the fetch for a slot may take."""
    return min(MAX_FETCH_SECONDS, FETCH_SHARE * interval(cron, slot).total_seconds())


@lru_cache(maxsize=8)
def interval(cron: Cron, slot: datetime) -> timedelta:
    """The time from a slot to the next one."""
    return cron.next(slot) - slot


def is_past(cron: Cron, slot: datetime, now: datetime) -> bool:
    """True when more than half of the slot's interval has passed, so that the prices of now are not the slot's."""
    return now - slot > interval(cron, slot) / 2


def max_quote_age(cron: Cron, slot: datetime) -> timedelta:
    """The age above which a slot's quote is stale."""
    return max(MAX_QUOTE_AGE, MAX_QUOTE_AGE_INTERVALS * interval(cron, slot))


def is_stale(cron: Cron, slot: datetime, updated_at: datetime) -> bool:
    """True when a slot's quote is so old that the listing looks frozen."""
    return slot - updated_at > max_quote_age(cron, slot)
