"""Variables that are not ours but look like it, so that a misspelt one is not ignored without a word."""

from collections.abc import Iterable
from difflib import get_close_matches

# Every variable of .env.example: each process reads only its own, and those of the others are not wrong.
_NAMES = """
    NATS_URL NATS_USER NATS_PASSWORD NATS_TOKEN NATS_CREDS NATS_CA NATS_INBOX_PREFIX NATS_API_PREFIX NATS_PORT
    NATS_PORT_2 NATS_PORT_3 HTTP_PORT_2
    NATS_ANONYMOUS LOG_LEVEL LOG_FORMAT DELIVERY STREAM_REPLICAS SCHEDULE SCHEDULE_TZ FEED MISSED_SLOTS
    MARKET_SOURCE MARKET_FALLBACK COINS VS_CURRENCY TRIGGER_SUBJECT TRIGGER_BODY
    COINGECKO_PLAN COINGECKO_API_KEY COINGECKO_URL DEFILLAMA_URL OUTBOX_DIR HEALTH_HOST HEALTH_PORT HTTP_HOST HTTP_PORT
    HTTP_ALLOWED_HOSTS HTTP_PROXY HTTPS_PROXY ALL_PROXY NO_PROXY SSL_CERT_FILE SSL_CERT_DIR
    MONGO_URL MONGO_DB MONGO_READER_URL MONGO_PORT BATCH_SIZE MAX_EVENTS_PER_SECOND API_URL API_SERVER API_SERVER_PORT
    TLS PRICE_METRICS PROMETHEUS_PORT GRAFANA_PORT MAX_EVENT_AGE
    OTEL_EXPORTER_OTLP_ENDPOINT OTEL_EXPORTER_OTLP_TRACES_ENDPOINT OTEL_EXPORTER_OTLP_HEADERS
    OTEL_EXPORTER_OTLP_PROTOCOL OTEL_TRACES_EXPORTER OTEL_SDK_DISABLED
"""
NAMES = frozenset(_NAMES.split())
# Not to be guessed: other programs have similar names, as APP_URL, FTP_PROXY, CI_SERVER_PORT and GIT_SSL_CERT_FILE.
_COMMON = {
    "API_URL",
    "API_SERVER_PORT",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "ALL_PROXY",
    "NO_PROXY",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
}
# OpenTelemetry has some eighty variables, all near to each other.
_OPENTELEMETRY = "OTEL_"
_CANDIDATES = sorted(name for name in NAMES - _COMMON if not name.startswith(_OPENTELEMETRY))
_SAME_WORDS = {
    "CG": "COINGECKO",
    "CREDENTIALS": "CREDS",
    "CRON": "SCHEDULE",
    "DATABASE": "DB",
    "HOST": "URL",
    "MONGODB": "MONGO",
    "PASS": "PASSWORD",
    "PWD": "PASSWORD",
    "SERVER": "URL",
    "SERVERS": "URL",
    "TIMEZONE": "TZ",
    "URI": "URL",
    "USERNAME": "USER",
}
_SUBJECT = "the subject is always crypto.updates; TRIGGER_SUBJECT adds another"
_FIXED = {
    "SUBJECT": _SUBJECT,
    "NATS_SUBJECT": _SUBJECT,
    "NATS_STREAM": "the stream is always CRYPTO",
    "STREAM": "the stream is always CRYPTO",
    "STREAM_NAME": "the stream is always CRYPTO",
    "MONGO_USER": "the user stands in MONGO_URL",
    "MONGO_PASSWORD": "the password stands in MONGO_URL",
}
# How alike two names must be, from 0 to 1 (difflib). A `.env` has less of others' variables than a process.
PROCESS_CUTOFF = 0.86
FILE_CUTOFF = 0.8


def warnings(names: Iterable[str], cutoff: float) -> list[str]:
    """Return a line for each name that is near to one of ours, or stands for what cannot be chosen."""
    told = {name: _FIXED.get(name.upper()) or _nearest(name, cutoff) for name in names}
    return [f"{name} is not read by Crypto Updates: {why}" for name, why in told.items() if why]


def _nearest(name: str, cutoff: float) -> str | None:
    stem, suffix = name.upper().removesuffix("_FILE"), "_FILE" if name.upper().endswith("_FILE") else ""
    if stem in _COMMON or stem.startswith(_OPENTELEMETRY) or (stem in NAMES and name.isupper()):
        return None
    plain = "_".join(dict.fromkeys(_SAME_WORDS.get(word, word) for word in stem.split("_")))
    near = [plain] if plain in _CANDIDATES else get_close_matches(stem, _CANDIDATES, 1, cutoff)
    return f"the nearest name is {near[0]}{suffix}" if near else None
