from crypto_updates.service.errors import CryptoUpdatesError


class StackError(CryptoUpdatesError):
    """A server or a service on this machine failed."""


class BinaryError(StackError):
    """A server's binary is missing, or cannot run on this machine."""


class PortTakenError(StackError):
    """The port is in use."""
