from crypto_updates.service.errors import CryptoUpdatesError


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
