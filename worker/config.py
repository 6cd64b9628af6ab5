"""The worker's settings."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, SecretStr, ValidationInfo

from crypto_updates.bus.config import BusSettings
from crypto_updates.clock.timetable import Timetable
from crypto_updates.service.config import Words


def _coins(coins: tuple[str, ...]) -> tuple[str, ...]:
    bad = [coin for coin in coins if not re.fullmatch(r"[a-zA-Z0-9._-]{1,128}", coin)]
    if bad:
        raise ValueError(f"{bad[0]!r} is no coin id")
    return tuple(dict.fromkeys(coins))


def _http_url(url: str | None) -> str | None:
    if url and (urlsplit(url).scheme not in {"http", "https"} or not urlsplit(url).hostname):
        raise ValueError
    return url


def _file(path: Path) -> Path:
    if not path.name:
        raise ValueError
    return path


def _key(key: SecretStr | None, info: ValidationInfo) -> SecretStr | None:
    plan = info.data.get("coingecko_plan")
    if key is None and plan in {"demo", "pro"} and info.data.get("market_source") == "coingecko":
        raise ValueError(f"missing, and COINGECKO_PLAN={plan} needs it")
    return key


class WorkerSettings(Timetable, BusSettings):
    missed_slots: Literal["latest", "all", "none"] = Field("latest", description="latest, all or none")
    market_source: Literal["coingecko", "simulated", "none"] = Field(
        "coingecko", description="coingecko, simulated or none"
    )
    coins: Annotated[Words, AfterValidator(_coins)] = Field(
        ("bitcoin", "ethereum", "matic-network"),
        description="CoinGecko coin ids separated by commas, bitcoin,ethereum for one",
    )
    vs_currency: str = Field(
        "usd", pattern="^[a-z]{2,10}$", description="a currency in small letters, usd or eur for one"
    )
    coingecko_url: Annotated[str | None, AfterValidator(_http_url)] = Field(
        None, repr=False, description="http://host/path or https://host/path, or nothing for the plan's own"
    )
    coingecko_plan: Literal["public", "demo", "pro"] = Field("public", description="public, demo or pro")
    coingecko_api_key: Annotated[SecretStr | None, AfterValidator(_key)] = Field(
        None, validate_default=True, description="the key of the plan"
    )
    outbox_path: Annotated[Path, AfterValidator(_file)] = Field(Path("outbox.db"), description="the path of a file")
    health_host: str = Field("127.0.0.1", min_length=1, description="an address of this machine, 0.0.0.0 for all")
    health_port: int = Field(8081, ge=1, le=65535, description="a port from 1 to 65535")
