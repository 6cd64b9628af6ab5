from crypto_updates.service.errors import CryptoUpdatesError


class SetupError(CryptoUpdatesError):
    """The stack could not be set up."""
