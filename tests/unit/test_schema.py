"""The parameters of the HTTP API as they come out of a URL."""

from datetime import UTC, datetime

import pytest
from pydantic import TypeAdapter, ValidationError

from api_stub.http.schema import Coin, Instant
from crypto_updates.service.config import ConfigError
from worker.config import WorkerSettings

INSTANT = TypeAdapter[datetime](Instant)
COIN = TypeAdapter[str](Coin)


@pytest.mark.parametrize(
    "text",
    [
        *("2023-11-21T14:30:00Z", "20231121T1430Z", "2023-11-21T15:30:00+01:00", "2023-11-21T15:30:00.0009+0100"),
        # A plus sign that was not percent-encoded is a space.
        *("2023-11-21T15:30:00 01:00", "2023-11-21T15:30 01", "20231121T153000 0100", "2023-11-21 15:30 01:00"),
    ],
)
def test_a_time_may_have_any_form_of_iso_8601_and_a_plus_sign_as_a_space(text: str) -> None:
    assert INSTANT.validate_python(text) == datetime(2023, 11, 21, 14, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("2023-11-21T14:30:00", "no offset from UTC, such as Z or \\+01:00"),
        ("2023-11-21 14:30", "no offset from UTC"),
        ("2016-12-31T23:59:60Z", "a leap second"),
        ("1700577000", "not an ISO 8601 time"),
    ],
)
def test_a_time_that_is_refused_is_told_why(text: str, problem: str) -> None:
    with pytest.raises(ValidationError, match=problem):
        INSTANT.validate_python(text)


def test_each_coin_that_the_worker_may_fetch_can_be_asked_for() -> None:
    longest = "c" * 256
    assert WorkerSettings.load({"COINS": longest}).coins == (longest,)
    assert COIN.validate_python(longest) == longest
    for refuse in (lambda: WorkerSettings.load({"COINS": f"{longest}c"}), lambda: COIN.validate_python(f"{longest}c")):
        with pytest.raises((ConfigError, ValidationError)):
            refuse()
