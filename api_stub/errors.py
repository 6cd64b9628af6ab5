"""The errors of the API stub."""

from crypto_updates.service.errors import CryptoUpdatesError


class ApiError(CryptoUpdatesError):
    """The API stub failed."""


class StoreUnavailableError(ApiError):
    """MongoDB did not store: it is down, read-only, full, or refuses."""


class BadDocumentError(ApiError):
    """MongoDB can never store this document, however often it is tried."""


class TakenError(ApiError):
    """Another event is stored under this id."""


class FullError(ApiError):
    """As many as there may be are served already."""


class MissingError(ApiError):
    """There is no such thing."""


class TooManyError(ApiError):
    """More was asked for than is looked at in one go."""
