import logging
import ssl

import nats.errors
from nats.js.errors import ServiceUnavailableError

from crypto_updates.service.errors import CryptoUpdatesError, text

log = logging.getLogger(__name__)

# "JetStream not enabled" and "JetStream not enabled for account" (nats-server/server/errors.json).
NOT_ENABLED, NOT_ENABLED_FOR_ACCOUNT = 10076, 10039


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


def jetstream_error(error: ServiceUnavailableError, api_prefix: str, *, has_jetstream: bool) -> BusError:
    """Why JetStream gave no answer, and what to do. `has_jetstream`: what the server's INFO says."""
    if error.err_code == NOT_ENABLED_FOR_ACCOUNT:
        return JetStreamMissingError(
            "the NATS account has no JetStream: enable it for the account, verify NATS_USER and NATS_API_PREFIX,"
            " or set DELIVERY=core"
        )
    if error.err_code == NOT_ENABLED or not has_jetstream:
        return JetStreamMissingError()
    if error.err_code is None:  # the server has no responder on the subject
        return JetStreamUnavailableError(
            f"nobody answers at {api_prefix}: verify NATS_API_PREFIX and the rights of the account"
        )
    return JetStreamUnavailableError(f"{error.description}: verify the cluster's servers and their log")


# The first kind that fits gives the code and what to verify. None: the error's own text says it.
REASONS: tuple[tuple[type[Exception], str, str | None], ...] = (
    (JetStreamMissingError, "JETSTREAM_MISSING", None),
    (JetStreamUnavailableError, "JETSTREAM_UNAVAILABLE", None),
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


def reason(error: Exception, url: str) -> str:
    """A code, the URL, and what to verify, for the log line of a failed connection."""
    log.debug("[NATS] %s: %r", url, error)
    if "authorization" in str(error).lower():
        error = nats.errors.AuthorizationError()
    for kind, code, advice in REASONS:
        if isinstance(error, kind):
            return f"{code} {url}: {advice or text(error).rstrip('.')}"
    return f"CONNECTION_FAILED {url}: {text(error)}"
