import logging
import ssl

import nats.errors

from crypto_updates.service.errors import CryptoUpdatesError, text

log = logging.getLogger(__name__)


class BusError(CryptoUpdatesError):
    """The bus failed."""


class InvalidEventError(BusError):
    """The message is not a CRYPTO_UPDATE event."""


class UnreachableError(BusError):
    """No NATS server could be reached in the time given."""


class JetStreamMissingError(BusError):
    """The NATS server has no JetStream: start nats-server with -js, or set DELIVERY=core."""


class JetStreamUnavailableError(BusError):
    """The NATS server has JetStream, but it does not answer."""


class RefusedError(BusError):
    """The NATS server says no, and will again until somebody changes the server or the settings."""


class NotPermittedError(RefusedError):
    """The NATS server does not permit this to the user."""


# The first kind that fits gives the code and what to verify. None: the error's own text says it.
REASONS: tuple[tuple[type[Exception], str, str | None], ...] = (
    (JetStreamMissingError, "JETSTREAM_MISSING", None),
    (JetStreamUnavailableError, "JETSTREAM_UNAVAILABLE", None),
    (RefusedError, "REFUSED", None),
    (nats.errors.SecureConnRequiredError, "TLS_MISSING", "the server has no TLS, which tls:// or NATS_CA asks for"),
    (ssl.SSLError, "TLS_FAILED", "verify NATS_CA and the server's certificate"),
    (TimeoutError, "TIMEOUT", "verify that it is a NATS server that listens there"),
    (
        nats.errors.AuthorizationError,
        "AUTHORIZATION_VIOLATION",
        "verify NATS_USER and NATS_PASSWORD, NATS_TOKEN or NATS_CREDS",
    ),
    (OSError, "CONNECTION_REFUSED", "verify that the NATS server is running (docker ps)"),
)


def is_definite(error: Exception) -> bool:
    """True if the server says no, and will again until somebody changes the server or the settings."""
    return isinstance(error, RefusedError | JetStreamMissingError) or _is_of_login(error)


def _is_of_login(error: Exception) -> bool:
    return "authorization" in str(error).lower()  # nats-py has several classes for it


def reason(error: Exception, url: str) -> str:
    """A code, the URL, and what to verify, for the log line of a failed connection."""
    log.debug("[NATS] %s: %r", url, error)
    if _is_of_login(error):
        error = nats.errors.AuthorizationError()
    for kind, code, advice in REASONS:
        if isinstance(error, kind):
            return f"{code} {url}: {advice or text(error).rstrip('.')}"
    return f"CONNECTION_FAILED {url}: {text(error)}"
