"""The errors of the bus."""


class BusError(Exception):
    """The bus failed."""

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or self.__doc__)


class InvalidEventError(BusError):
    """The message is not a CRYPTO_UPDATE event."""


class UnreachableError(BusError):
    """No NATS server could be reached in the time given."""


class JetStreamMissingError(BusError):
    """The NATS server has no JetStream: start it with `-js`, or set DELIVERY=core."""
