from crypto_updates.service.errors import CryptoUpdatesError


class ApiError(CryptoUpdatesError):
    """The API stub failed."""


class StoreUnavailableError(ApiError):
    """MongoDB did not answer, or refused: it is down, read-only or full."""


class StoreRefusedError(StoreUnavailableError):
    """MongoDB does not permit this to the user."""


class BadDocumentError(ApiError):
    """MongoDB cannot store this document: it is none for BSON, or another event has its id."""


class MissingError(ApiError):
    """The event, the quote or the price does not exist."""
