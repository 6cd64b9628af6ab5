from crypto_updates.service.errors import CryptoUpdatesError


class ApiError(CryptoUpdatesError):
    """The API stub failed."""


class StoreUnavailableError(ApiError):
    """MongoDB did not answer, or refused: it is down, read-only or full."""


class BadDocumentError(ApiError):
    """MongoDB can never store this document."""


class TakenError(ApiError):
    """Another event is stored under this id."""


class MissingError(ApiError):
    """The event, the quote or the price does not exist."""
