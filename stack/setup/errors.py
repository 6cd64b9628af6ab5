from crypto_updates.service.errors import CryptoUpdatesError


class SetupError(CryptoUpdatesError):
    """The set-up failed."""


class CredentialError(SetupError):
    """The credentials could not be made."""


class ProvisionError(SetupError):
    """The stream, the consumer, the replica set, the indexes or the users could not be made."""
