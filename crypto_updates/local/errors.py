from crypto_updates.service.errors import CryptoUpdatesError


class StackError(CryptoUpdatesError):
    """A server or a service on this machine failed."""


class BinaryMissingError(StackError):
    """A server's binary was not found on this machine."""


class BinaryBrokenError(StackError):
    """A server's binary cannot run on this machine."""


class PortTakenError(StackError):
    """The port is in use."""


class NotReadyError(StackError):
    """The server ended, or did not answer in time."""


class LineMissingError(StackError):
    """The process did not write the expected line."""
