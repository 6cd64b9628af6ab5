"""When slots are, as the environment says it, and how long one may take. Both services read it."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Annotated

from pydantic import AfterValidator, Field

from crypto_updates.clock.cron import Cron
from crypto_updates.service.config import ServiceSettings

# A fetch has half the time to the next slot, so that slots never queue up behind a slow market.
SHARE, LONGEST = 0.5, 240.0
# A slot that was published so long after its time was published by hand.
BY_HAND = timedelta(days=1)


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
        "UTC", description="an IANA time zone, Europe/Berlin for one"
    )
    feed: str = Field("crypto", pattern="^[A-Za-z0-9_-]{1,64}$", description="letters, digits, _ and -, 64 at most")

    @property
    def cron(self) -> Cron:
        return Cron(self.schedule, self.schedule_tz)


def budget(cron: Cron, slot: datetime) -> float:
    """Seconds that the fetch for a slot may take."""
    return min(LONGEST, SHARE * (cron.next(slot) - slot).total_seconds())
