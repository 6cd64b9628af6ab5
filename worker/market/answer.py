"""What CoinGecko's answers mean: the quotes, what went wrong, how long to wait. Pure."""

from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Annotated

import httpx
import msgspec

from crypto_updates.bus.event import Quote
from worker.market.errors import TemporaryMarketError

# CoinGecko's own codes: https://docs.coingecko.com/docs/errors-and-rate-limits
_HINTS = {
    10002: "set COINGECKO_API_KEY to a key of COINGECKO_PLAN",
    10005: "COINGECKO_PLAN does not include this",
    10010: "check COINGECKO_API_KEY; a pro key needs COINGECKO_PLAN=pro",
    10011: "check COINGECKO_API_KEY; a demo key needs COINGECKO_PLAN=demo",
    401: "check COINGECKO_API_KEY",
    403: "check COINGECKO_PLAN and COINGECKO_API_KEY, or the address of this machine is blocked",
    **dict.fromkeys((301, 302, 303, 307, 308), "redirects are not followed: check COINGECKO_URL"),
}


class _Coin(msgspec.Struct):
    """The fields that we read of an item of /coins/markets. Some may be null, none may be missing."""

    id: str
    symbol: str
    current_price: float | None
    market_cap: float | None
    price_change_percentage_24h: float | None
    last_updated: Annotated[datetime, msgspec.Meta(tz=True)] | None


class _Status(msgspec.Struct):
    error_code: int | None = None
    error_message: str | None = None


class _Failure(_Status):
    """CoinGecko's errors in all their forms: flat, under `status`, under `error`, or `error` as text."""

    status: _Status | None = None
    error: "str | _Failure | None" = None


_coins = msgspec.json.Decoder(list[_Coin])
_failure = msgspec.json.Decoder(_Failure)


def quotes(body: bytes, currency: str) -> list[Quote]:
    """The quotes of a 200 answer. Raises TemporaryMarketError: the next try may bring more than HTML or half a body."""
    try:
        return [_quote(coin, currency) for coin in _coins.decode(body)]
    except (ValueError, OverflowError, RecursionError) as error:
        raise TemporaryMarketError(f"CoinGecko's answer is not a list of coins: {error}") from error


def _quote(coin: _Coin, currency: str) -> Quote:
    return Quote(
        coin=coin.id,
        symbol=coin.symbol,
        price=coin.current_price,
        market_cap=coin.market_cap,
        change_24h=coin.price_change_percentage_24h,
        currency=currency,
        updated_at=coin.last_updated and coin.last_updated.astimezone(UTC),
    )


def problem(status: int, body: bytes, retry_after: float | None) -> str:
    """An answer other than 200 in one line: the status, CoinGecko's own words, and the setting to check."""
    code, message = _reason(body)
    parts = [f"CoinGecko answered {status} {httpx.codes.get_reason_phrase(status)}".rstrip()]
    if code or message:
        parts.append(" ".join(str(part) for part in (code, _printable(message or "")) if part))
    if retry_after is not None:
        parts.append(f"retry-after {retry_after:g} s")
    hint = _HINTS.get(code or 0) or _HINTS.get(status)
    return ": ".join(parts) + (f" ({hint})" if hint else "")


def _reason(body: bytes) -> tuple[int | None, str | None]:
    try:
        failure = _failure.decode(body)
    except (ValueError, RecursionError):
        return None, None
    while isinstance(failure.error, _Failure):
        failure = failure.error
    inner = failure.status or _Status()
    return inner.error_code or failure.error_code, inner.error_message or failure.error_message or failure.error


def _printable(text: str) -> str:
    """Text from outside, made fit for one line of a log."""
    return "".join(char if char.isprintable() else " " for char in text)[:200]


def seconds(retry_after: str | None, now: datetime) -> float | None:
    """The seconds that a Retry-After header asks for, as a number or a date (RFC 9110, 10.2.3); None without one."""
    if retry_after is None:
        return None
    if retry_after.isascii() and retry_after.isdigit():
        return float(retry_after)
    try:
        instant = parsedate_to_datetime(retry_after)
    except ValueError:
        return None
    # A date with the zone "-0000" is parsed as naive. RFC 5322 defines it as UTC.
    instant = instant if instant.tzinfo else instant.replace(tzinfo=UTC)
    return max(0.0, (instant - now).total_seconds())
