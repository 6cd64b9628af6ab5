"""The settings of each service, and `.env.example`, which shows them all."""

import os
import re
from datetime import timedelta
from io import StringIO
from pathlib import Path

import pytest
from dotenv import dotenv_values

import api_stub.config
import worker.config
from crypto_updates.bus.config import BusSettings
from crypto_updates.bus.spans import SpanSettings
from crypto_updates.service.config import ConfigError
from stack.check.target import CheckSettings
from stack.setup.config import CredentialSettings
from tests.support import ROOT

EXAMPLE = ROOT / ".env.example"
SHARED = {*BusSettings.model_fields, *SpanSettings.model_fields}

COINS = "accepted: CoinGecko coin ids separated by commas, for example bitcoin,ethereum"
URL = "accepted: http://host/path or https://host/path, or nothing for the plan's own"
KEY = "accepted: the key of the plan: printable ASCII without a space"
FEED = "accepted: letters, digits, _ and -, 64 at most"
MONGO = "accepted: mongodb://host:27017 or mongodb+srv://host"
DATABASE = "accepted: a database name of letters, digits, _ and -, 63 at most"
RATE = "accepted: a number above 0, or nothing for no limit"
PORT = "accepted: a port from 1 to 65535"
TRIGGER = "accepted: a subject of its own without wildcards, for example crypto.update"
WORDS = 'accepted: a text of 65536 bytes at most, for example {"trigger":"update"}'
BAD_SUBJECTS = ("crypto.>", "crypto.*", "a b", "a..b", ".a", "a.", "a.\x00b", "a" * 256)
BAD_AGES = ("30", "1y", "59s", "0d", "-1d", "1.5d", "24856d", "999999999d", "soon")
AGE = "accepted: 90s, 90m, 24h, 7d: from 1m to 24855d, or nothing to keep all events"
ENDPOINT = "accepted: http://host:4318 or https://host"
BATCH = "accepted: a whole number from 1 to 5000"


def problems(environ: dict[str, str]) -> str:
    with pytest.raises(ConfigError) as raised:
        worker.config.WorkerSettings.load(environ)
    return str(raised.value)


def problem(service: type[BusSettings], variable: str, value: str) -> str:
    with pytest.raises(ConfigError) as raised:
        service.load({variable: value})
    return str(raised.value)


def test_the_worker_defaults_are_those_of_the_design() -> None:
    assert worker.config.WorkerSettings.load({}).model_dump(exclude=SHARED) == {
        "schedule": "*/15 * * * *",
        "schedule_tz": "UTC",
        "missed_slots": "latest",
        "market_source": "coingecko",
        "market_fallback": "defillama",
        "coins": ("bitcoin", "ethereum", "polygon-ecosystem-token"),
        "vs_currency": "usd",
        "coingecko_url": None,
        "coingecko_plan": "public",
        "coingecko_api_key": None,
        "defillama_url": None,
        "http_proxy": None,
        "https_proxy": None,
        "all_proxy": None,
        "no_proxy": None,
        "ssl_cert_file": None,
        "ssl_cert_dir": None,
        "trigger_subject": None,
        "trigger_body": None,
        "feed": "crypto",
        "outbox_dir": Path("outbox"),
        "price_metrics": "auto",
        "health_host": "127.0.0.1",
        "health_port": 8081,
    }


def test_the_api_stub_defaults_are_those_of_the_design() -> None:
    assert api_stub.config.ApiSettings.load({}).model_dump(exclude=SHARED) == {
        "schedule": "*/15 * * * *",
        "schedule_tz": "UTC",
        "feed": "crypto",
        "mongo_url": "mongodb://localhost:27017",
        "mongo_reader_url": None,
        "mongo_db": "crypto",
        "http_host": "127.0.0.1",
        "http_port": 8080,
        "http_allowed_hosts": None,
        "batch_size": 500,
        "max_events_per_second": None,
        "max_event_age": None,
    }


@pytest.mark.parametrize(
    ("variable", "value", "rest"),
    [
        ("SCHEDULE_TZ", "Mars/Olympus", "accepted: an IANA time zone, such as Europe/Berlin"),
        ("MISSED_SLOTS", "some", "accepted: latest, all or none"),
        ("MARKET_SOURCE", "bazaar", "accepted: coingecko, defillama, simulated or none"),
        ("MARKET_FALLBACK", "coingecko", "accepted: defillama or none"),
        ("COINS", ",", COINS),
        ("COINS", "bitcoin,bit\tcoin", f"'bit\\tcoin' is not a coin id; {COINS}"),
        ("COINS", "a" * 257, f"'{'a' * 257}' is not a coin id; {COINS}"),
        ("VS_CURRENCY", "US$", "accepted: a currency in small letters, for example usd or eur"),
        ("COINGECKO_URL", "ftp://host", URL),
        ("COINGECKO_URL", "https://", URL),
        ("COINGECKO_URL", "http://localhost:99999", URL),
        ("COINGECKO_URL", "http://localhost:0", URL),
        ("COINGECKO_URL", "http://[::1", URL),
        ("COINGECKO_URL", "http://a\x00b", URL),
        ("COINGECKO_PLAN", "gold", "accepted: public, demo or pro"),
        ("FEED", "a b", FEED),
        ("FEED", "a" * 65, FEED),
        ("FEED", "a#1", FEED),
        ("HEALTH_PORT", "65536", PORT),
        *(("TRIGGER_SUBJECT", subject, TRIGGER) for subject in BAD_SUBJECTS),
        ("TRIGGER_SUBJECT", "crypto.updates", f"the stream takes this subject; {TRIGGER}"),
        ("TRIGGER_SUBJECT", "crypto.claims", f"the stream takes this subject; {TRIGGER}"),
        ("TRIGGER_SUBJECT", "probe.crypto.updates", f"the stream takes this subject; {TRIGGER}"),
        ("TRIGGER_SUBJECT", "$JS.API.INFO", f"the server's own subjects begin so; {TRIGGER}"),
        ("PRICE_METRICS", "yes", "accepted: auto (on with up to 50 coins), on or off"),
        ("TRIGGER_BODY", "update", f"TRIGGER_SUBJECT is missing, so nothing would be sent; {WORDS}"),
    ],
)
def test_the_worker_tells_a_bad_value(variable: str, value: str, rest: str) -> None:
    line = problem(worker.config.WorkerSettings, variable, value)
    assert line.startswith(f"{variable}={value}: ")
    assert line.endswith(rest)


@pytest.mark.parametrize("key", ["CG secret", "CG-s\xe9cret", "CG-\x7fsecret"])
def test_a_key_that_no_header_can_hold_is_refused_without_being_shown(key: str) -> None:
    line = problem(worker.config.WorkerSettings, "COINGECKO_API_KEY", key)
    assert line == f"COINGECKO_API_KEY=***: no HTTP header can hold it; {KEY}"


@pytest.mark.parametrize("plan", ["demo", "pro"])
@pytest.mark.parametrize("missing", [{}, {"COINGECKO_API_KEY": ""}, {"COINGECKO_API_KEY_FILE": os.devnull}])
def test_a_plan_that_needs_a_key_says_so(plan: str, missing: dict[str, str]) -> None:
    with pytest.raises(ConfigError) as refused:
        worker.config.WorkerSettings.load({"COINGECKO_PLAN": plan, **missing})
    assert str(refused.value) == f"COINGECKO_API_KEY=***: missing, and COINGECKO_PLAN={plan} needs it; {KEY}"


def test_all_bad_values_of_the_market_are_told_together() -> None:
    bad = {"MARKET_SOURCE": "bazaar", "COINS": "a\x00b", "COINGECKO_URL": "http://[::1", "COINGECKO_API_KEY": "a b"}
    with pytest.raises(ConfigError) as refused:
        worker.config.WorkerSettings.load(bad)
    assert [line.partition("=")[0] for line in str(refused.value).splitlines()] == list(bad)


@pytest.mark.parametrize("schedule", ["soon", "61 * * * *", "0 0 30 2 *", "* * * *"])
def test_the_worker_tells_what_is_wrong_with_a_schedule(schedule: str) -> None:
    line = problem(worker.config.WorkerSettings, "SCHEDULE", schedule)
    assert line.startswith(f"SCHEDULE={schedule}: {schedule!r}: ")
    assert line.endswith("; accepted: 5 cron fields, 6 with seconds first, or @hourly and its like")


@pytest.mark.parametrize(
    ("variable", "value", "rest"),
    [
        ("MONGO_URL", "localhost:27017", MONGO),
        ("MONGO_URL", "mongodb://", MONGO),
        ("MONGO_DB", "a.b", DATABASE),
        ("MONGO_DB", "a" * 64, DATABASE),
        ("HTTP_PORT", "http", PORT),
        ("BATCH_SIZE", "0", BATCH),
        ("BATCH_SIZE", "5001", BATCH),
        ("MAX_EVENTS_PER_SECOND", "0", RATE),
        ("MAX_EVENTS_PER_SECOND", "nan", RATE),
        ("MAX_EVENTS_PER_SECOND", "inf", RATE),
        *(("MAX_EVENT_AGE", age, AGE) for age in BAD_AGES),
        ("OTEL_TRACES_EXPORTER", "console", "accepted: otlp or none"),
        *(("OTEL_EXPORTER_OTLP_ENDPOINT", url, ENDPOINT) for url in ("h:4318", "http://", "http://[::1", "http://h:0")),
    ],
)
def test_the_api_stub_tells_a_bad_value(variable: str, value: str, rest: str) -> None:
    assert problem(api_stub.config.ApiSettings, variable, value) == f"{variable}={value}: {rest}"


@pytest.mark.parametrize(
    ("age", "kept"), [("", None), ("60s", 60), ("90m", 5400), ("7d", 604_800), ("24855d", 2_147_472_000)]
)
def test_an_age_of_events_is_a_span(age: str, kept: int | None) -> None:
    assert api_stub.config.ApiSettings.load({"MAX_EVENT_AGE": age}).max_event_age == (kept and timedelta(seconds=kept))


@pytest.mark.parametrize(
    ("environ", "has_spans"),
    [
        ({}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": ""}, False),
        ({"OTEL_EXPORTER_OTLP_HEADERS": "a=b", "OTEL_SDK_DISABLED": "false"}, False),
        ({"OTEL_TRACES_EXPORTER": "otlp"}, True),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://h:4318"}, True),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "https://h/v1/traces"}, True),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://h", "OTEL_TRACES_EXPORTER": "none"}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://h", "OTEL_SDK_DISABLED": "TRUE"}, False),
        # For other programs of this machine.
        ({"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc", "OTEL_SDK_DISABLED": "no"}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "h:4317", "OTEL_SDK_DISABLED": "true"}, False),
        ({"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc", "OTEL_TRACES_EXPORTER": "none"}, False),
    ],
)
def test_there_are_spans_when_a_variable_says_where_to(environ: dict[str, str], *, has_spans: bool) -> None:
    assert worker.config.WorkerSettings.load(environ).has_spans == has_spans


def test_where_spans_are_asked_for_every_bad_variable_of_them_is_told() -> None:
    bad = {"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc", "OTEL_TRACES_EXPORTER": "console", "OTEL_SDK_DISABLED": "no"}
    assert problems(bad).splitlines() == [
        "OTEL_EXPORTER_OTLP_PROTOCOL=grpc: accepted: http/protobuf",
        "OTEL_TRACES_EXPORTER=console: accepted: otlp or none",
        "OTEL_SDK_DISABLED=no: accepted: true or false",
    ]


def test_a_password_is_in_no_error_line() -> None:
    assert problem(api_stub.config.ApiSettings, "MONGO_URL", "http://u:hunter2@h") == f"MONGO_URL=http://***@h: {MONGO}"
    assert (
        problem(worker.config.WorkerSettings, "COINGECKO_URL", "ftp://u:hunter2@h")
        == f"COINGECKO_URL=ftp://***@h: {URL}"
    )


@pytest.mark.parametrize("coin", ["academy token", "UPPER-case.v2", "../ping", "a/b?c#d%20e", "0xDEADbeef", "\u20bf"])
def test_an_id_is_taken_whatever_it_looks_like(coin: str) -> None:
    assert worker.config.WorkerSettings.load({"COINS": f"bitcoin, {coin}"}).coins == ("bitcoin", coin)


def test_the_words_of_a_trigger_are_bounded_and_told_with_a_bad_subject_once() -> None:
    trigger = {"TRIGGER_SUBJECT": "crypto.update", "TRIGGER_BODY": "\u20ac" * 21_846}
    assert "65538 bytes; accepted" in problems(trigger)
    assert problems(trigger | {"TRIGGER_SUBJECT": ">", "TRIGGER_BODY": "x"}).count("\n") == 0


def test_defillama_serves_only_us_dollars() -> None:
    with pytest.raises(ConfigError, match=r"^VS_CURRENCY=eur: MARKET_SOURCE=defillama has prices in usd only; "):
        worker.config.WorkerSettings.load({"MARKET_SOURCE": "defillama", "VS_CURRENCY": "eur"})


def test_a_coin_named_twice_is_fetched_once() -> None:
    settings = worker.config.WorkerSettings.load({"COINS": "bitcoin, ethereum,bitcoin,"})
    assert settings.coins == ("bitcoin", "ethereum")


@pytest.mark.parametrize(
    "url", ["http://[::1", "http://h:99999", "http://h:0", "ftp://h", "h:8080", "http://", "http://u:hunter2@h:x"]
)
def test_verify_tells_a_bad_address_of_the_api(url: str) -> None:
    shown = url.replace("u:hunter2", "***")
    assert problem(CheckSettings, "API_URL", url) == f"API_URL={shown}: accepted: http://host:8080 or https://host"


@pytest.mark.parametrize(
    "service", [worker.config.WorkerSettings, api_stub.config.ApiSettings], ids=["worker", "api_stub"]
)
def test_an_empty_variable_is_told_where_nothing_is_no_value(service: type[BusSettings]) -> None:
    needed = [name.upper() for name, info in service.model_fields.items() if info.default is not None]
    with pytest.raises(ConfigError) as refused:
        service.load({name.upper(): "" for name in service.model_fields})
    assert [line.partition("=: ")[0] for line in str(refused.value).splitlines()] == needed


def test_a_password_is_in_no_text_of_the_settings() -> None:
    api = api_stub.config.ApiSettings.load({"MONGO_URL": "mongodb://u:hunter2@h"})
    publisher = worker.config.WorkerSettings.load(
        {"COINGECKO_URL": "http://u:hunter2@h", "COINGECKO_API_KEY": "hunter2"}
    )
    assert "hunter2" not in repr(api) + repr(publisher)


@pytest.mark.parametrize(
    "url",
    [
        "mongodb://u:hun@ter2@h",
        "mongodb://u:hunter2@h:x",
        "mongodb://h/?directConnection=x",
        "mongodb://u:hunter2@h/?tls=true&tlsCAFile=/no/such",
        f"mongodb://u:hunter2@h/?tls=true&tlsCAFile={EXAMPLE}",
        "mongodb+srv://u:hunter2@h:27017",
        "mongodb://u:hunter2@h/?authMechanism=MONGODB-X509",
    ],
)
def test_the_api_stub_tells_a_url_that_the_driver_refuses(url: str) -> None:
    line = problem(api_stub.config.ApiSettings, "MONGO_URL", url)
    assert line.startswith(f"MONGO_URL={url.partition('://')[0]}://")
    assert line.endswith(MONGO)
    assert "ter2" not in line


def test_a_bad_ssl_cert_file_is_told_where_mongodb_has_tls(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", "/no/such.pem")
    line = problem(api_stub.config.ApiSettings, "MONGO_URL", "mongodb://h/?tls=true")
    assert "tls=true: SSL_CERT_FILE=/no/such.pem: No such file or directory; " in line
    assert api_stub.config.ApiSettings.load({"MONGO_URL": "mongodb://h/"}).mongo_url == "mongodb://h/"


@pytest.mark.parametrize(("rate", "batch"), [("", 500), ("1000", 500), ("20.5", 20), ("0.1", 1)])
def test_a_batch_is_at_most_what_may_be_stored_in_a_second(rate: str, batch: int) -> None:
    assert api_stub.config.ApiSettings.load({"MAX_EVENTS_PER_SECOND": rate}).batch == batch


@pytest.mark.parametrize(
    "service", [worker.config.WorkerSettings, api_stub.config.ApiSettings, CredentialSettings, CheckSettings]
)
def test_the_example_shows_every_variable_with_its_default(service: type[BusSettings]) -> None:
    uncommented = re.sub(r"^# ?(?=[A-Z0-9_]+=)", "", EXAMPLE.read_text(), flags=re.MULTILINE)
    shown = dotenv_values(stream=StringIO(uncommented))
    # The image has the one-shot's folders where it looks for them.
    assert {name.upper() for name in service.model_fields} - {"CREDENTIALS_DIR", "SECRETS_DIR"} <= shown.keys()
    assert service.load(shown) == service.load({})
