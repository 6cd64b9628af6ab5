import os
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, SecretStr, ValidationInfo

from crypto_updates.bus.config import BusSettings
from crypto_updates.bus.event import MAX_COIN_CHARACTERS
from crypto_updates.bus.spans import SpanSettings
from crypto_updates.clock.timetable import Timetable
from crypto_updates.service import trust
from crypto_updates.service.config import Words
from worker import catchup, trigger
from worker.market import FALLBACKS, OFFLINE, SOURCES
from worker.market.network import Network, http_url, proxy
from worker.market.terms import CURRENCY, Plan


def _coins(coins: tuple[str, ...]) -> tuple[str, ...]:
    """CoinGecko's ids have spaces, capitals and dots too; what cannot be printed is a mistake."""
    bad = [coin for coin in coins if not coin.isprintable() or len(coin) > MAX_COIN_CHARACTERS]
    if bad:
        raise ValueError(f"{bad[0]!r} is not a coin id")
    return tuple(dict.fromkeys(coins))


def _source(name: str) -> str:
    if name not in SOURCES:
        raise ValueError
    return name


def _fallback(name: str) -> str:
    if name not in FALLBACKS:
        raise ValueError
    return name


def _currency(currency: str, info: ValidationInfo) -> str:
    if info.data.get("market_source") == "defillama" and currency != CURRENCY:
        raise ValueError(f"MARKET_SOURCE=defillama has prices in {CURRENCY} only")
    return currency


def _folder(path: Path) -> Path:
    if not path.name:
        raise ValueError
    return path


def _key(key: SecretStr | None, info: ValidationInfo) -> SecretStr | None:
    plan = info.data.get("coingecko_plan")
    if not key and plan in {"demo", "pro"} and info.data.get("market_source") == "coingecko":
        raise ValueError(f"missing, and COINGECKO_PLAN={plan} needs it")
    text = key.get_secret_value() if key else ""
    if not (text.isascii() and text.isprintable()) or " " in text:
        raise ValueError("no HTTP header can hold it")
    return key


def _words(words: str | None, info: ValidationInfo) -> str | None:
    return trigger.words(words, info.data.get("trigger_subject", ""))


def _fetches(info: ValidationInfo) -> bool:
    """What is only for requests does not matter where nothing is asked."""
    return info.data.get("market_source") not in {None, *OFFLINE}


def _proxy(url: str, info: ValidationInfo) -> str:
    if _fetches(info):
        proxy(url)
    return url


def _certificates(folders: str | None, info: ValidationInfo) -> str | None:
    """Checked together, because one context has both."""
    if _fetches(info):
        if folders and not any(Path(folder).is_dir() for folder in folders.split(os.pathsep)):
            raise ValueError
        Network(ssl_cert_dir=folders).context()
    return folders


def _certificate(file: Path, info: ValidationInfo) -> Path:
    if _fetches(info):
        trust.check(file)
    return file


# Each coin is a time series in Prometheus.
MAX_COINS_WITH_PRICES = 50

ProxyUrl = Annotated[str, AfterValidator(_proxy)] | None
PROXY = "http://host:3128, https://host:3128 or socks5://host:1080"


class WorkerSettings(Timetable, BusSettings, SpanSettings):
    missed_slots: catchup.Policy = Field("latest", description="latest, all or none")
    market_source: Annotated[str, AfterValidator(_source)] = Field(
        "coingecko", description=" or ".join(", ".join(SOURCES).rsplit(", ", 1))
    )
    market_fallback: Annotated[str, AfterValidator(_fallback)] = Field("defillama", description=" or ".join(FALLBACKS))
    coins: Annotated[Words, AfterValidator(_coins)] = Field(
        ("bitcoin", "ethereum", "polygon-ecosystem-token"),
        description="CoinGecko coin ids separated by commas, for example bitcoin,ethereum",
    )
    vs_currency: Annotated[str, AfterValidator(_currency)] = Field(
        "usd", pattern="^[a-z]{2,10}$", description="a currency in small letters, for example usd or eur"
    )
    coingecko_url: Annotated[str, AfterValidator(http_url)] | None = Field(
        None, repr=False, description="http://host/path or https://host/path, or nothing for the plan's own"
    )
    coingecko_plan: Plan = Field("public", description="public, demo or pro")
    coingecko_api_key: Annotated[SecretStr | None, AfterValidator(_key)] = Field(
        None, validate_default=True, description="the key of the plan: printable ASCII without a space"
    )
    defillama_url: Annotated[str, AfterValidator(http_url)] | None = Field(
        None, repr=False, description="http://host/path or https://host/path, or nothing for DefiLlama's own"
    )
    http_proxy: ProxyUrl = Field(None, repr=False, description=PROXY)
    https_proxy: ProxyUrl = Field(None, repr=False, description=PROXY)
    all_proxy: ProxyUrl = Field(None, repr=False, description=PROXY)
    no_proxy: str | None = None
    ssl_cert_file: Annotated[Path, AfterValidator(_certificate)] | None = Field(
        None, description="the path of a PEM file"
    )
    ssl_cert_dir: Annotated[str | None, AfterValidator(_certificates)] = Field(
        None, validate_default=True, description="the path of a folder with certificates"
    )
    trigger_subject: trigger.TriggerSubject | None = Field(None, description=trigger.SUBJECT_FORM)
    trigger_body: Annotated[str | None, AfterValidator(_words)] = Field(None, description=trigger.WORDS_FORM)
    outbox_dir: Annotated[Path, AfterValidator(_folder)] = Field(Path("outbox"), description="the path of a folder")
    price_metrics: Literal["auto", "on", "off"] = Field(
        "auto", description=f"auto (on with up to {MAX_COINS_WITH_PRICES} coins), on or off"
    )
    health_host: str = Field("127.0.0.1", min_length=1, description="an address of this machine, 0.0.0.0 for all")
    health_port: int = Field(8081, ge=1, le=65535, description="a port from 1 to 65535")

    @property
    def shows_prices(self) -> bool:
        """Whether /metrics has the prices."""
        return self.price_metrics == "on" or (self.price_metrics == "auto" and len(self.coins) <= MAX_COINS_WITH_PRICES)

    @property
    def network(self) -> Network:
        return Network(**{name: getattr(self, name) for name in Network._fields})
