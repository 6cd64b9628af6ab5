"""A market made of arithmetic: the same quotes for the same slot on every machine, offline."""

from datetime import UTC, datetime
from hashlib import blake2b
from math import fsum
from typing import NamedTuple

from crypto_updates.bus.event import Quote

_DAY_SECONDS = 86_400.0
_MASK = 2**64 - 1
# (period in seconds, share of the level): from the swing of a month to the small moves between two events of a demo.
_WAVES = (
    (30 * _DAY_SECONDS, 0.15),
    (7 * _DAY_SECONDS, 0.06),
    (_DAY_SECONDS, 0.02),
    (14_400.0, 0.007),
    (3_600.0, 0.003),
    (600.0, 0.0008),
    (30.0, 0.0002),
)


class _Asset(NamedTuple):
    """`level`: the mean price in US dollars. `swing` scales the waves: 1 for a coin, 0.01 for a stablecoin."""

    symbol: str
    level: float
    supply: int
    swing: float
    seed: int


# All but the seeds. Currencies are here too: a price is the value of one asset in units of another.
_KNOWN = {
    "bitcoin": ("btc", 80_000.0, 19_900_000, 1.0),
    "ethereum": ("eth", 3_000.0, 120_700_000, 1.0),
    "polygon-ecosystem-token": ("pol", 0.25, 10_600_000_000, 1.0),
    "matic-network": ("matic", 0.4, 10_000_000_000, 1.0),
    "solana": ("sol", 150.0, 540_000_000, 1.0),
    "binancecoin": ("bnb", 800.0, 138_000_000, 1.0),
    "ripple": ("xrp", 2.2, 60_000_000_000, 1.0),
    "cardano": ("ada", 0.6, 36_000_000_000, 1.0),
    "dogecoin": ("doge", 0.2, 150_000_000_000, 1.0),
    "tether": ("usdt", 1.0, 180_000_000_000, 0.01),
    "usd-coin": ("usdc", 1.0, 75_000_000_000, 0.01),
    "usd": ("usd", 1.0, 1, 0.0),
    "eur": ("eur", 1.15, 1, 0.1),
    "gbp": ("gbp", 1.3, 1, 0.1),
    "jpy": ("jpy", 0.0066, 1, 0.1),
}
_CODES = {"btc": "bitcoin", "eth": "ethereum", "bnb": "binancecoin", "sol": "solana", "xrp": "ripple"}


class Simulated:
    """Quotes that depend only on coin, currency and slot, with realistic prices for well-known coins."""

    name = "simulated"

    def __init__(self, *, coins: tuple[str, ...], currency: str) -> None:
        self._assets = {coin: _asset(coin) for coin in coins}
        self._currency = currency
        self._unit = _asset(_CODES.get(currency.lower(), currency.lower()))

    @property
    def past(self) -> "Simulated":
        return self

    async def close(self) -> None:
        pass

    async def fetch(self, slot: datetime, budget: float) -> tuple[Quote, ...]:  # noqa: ARG002 - it takes no time
        now = slot.timestamp()
        units = _value(self._unit, now), _value(self._unit, now - _DAY_SECONDS)
        return tuple(self._quote(coin, asset, slot, units) for coin, asset in self._assets.items())

    def _quote(self, coin: str, asset: _Asset, slot: datetime, units: tuple[float, float]) -> Quote:
        now = slot.timestamp()
        price = _rounded(_value(asset, now) / units[0], digits=7)
        before = _rounded(_value(asset, now - _DAY_SECONDS) / units[1], digits=7)
        return Quote(
            coin=coin,
            symbol=asset.symbol,
            price=price,
            market_cap=_rounded(price * asset.supply, digits=9),
            change_24h=round((price / before - 1) * 100, 4),
            currency=self._currency,
            updated_at=slot.astimezone(UTC),
        )


def _asset(name: str) -> _Asset:
    """A known asset, or one made from the hash of its name, with a price from $0.001 to $100."""
    seed = int.from_bytes(blake2b(name.encode(), digest_size=8).digest())
    if name in _KNOWN:
        return _Asset(*_KNOWN[name], seed)
    level = (100 + seed % 900) * 10 ** (seed // 1000 % 5) / 100_000
    supply = (1 + seed // 5000 % 99) * 10_000_000
    return _Asset(name.replace("-", "")[:5], level, supply, 1.0, seed)


def _value(asset: _Asset, time: float) -> float:
    """US dollars at `time`, seconds since 1970. Only + - * / and fsum: sin, exp and sum differ between machines."""
    waves = fsum(share * _wave(asset.seed + i, time / period) for i, (period, share) in enumerate(_WAVES))
    return asset.level * (1 + asset.swing * waves)


def _wave(seed: int, time: float) -> float:
    """A smooth random curve between -1 and 1: a hash at each whole `time`, and a smooth way between two of them."""
    step, part = divmod(time, 1)
    start, end = _hash(seed, int(step)), _hash(seed, int(step) + 1)
    return start + (end - start) * part * part * (3 - 2 * part)


def _hash(seed: int, step: int) -> float:
    """The mixer of splitmix64, from -1 to 1: https://prng.di.unimi.it/splitmix64.c"""
    bits = (seed * 0xD1342543DE82EF95 + step * 0x9E3779B97F4A7C15) & _MASK
    bits = ((bits ^ (bits >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    bits = ((bits ^ (bits >> 27)) * 0x94D049BB133111EB) & _MASK
    return ((bits ^ (bits >> 31)) >> 11) / 2**52 - 1


def _rounded(value: float, digits: int) -> float:
    return float(f"{value:.{digits}g}")
