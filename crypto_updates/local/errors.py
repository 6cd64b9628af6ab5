"""The errors of the stack."""

from crypto_updates.service.errors import CryptoUpdatesError


class StackError(CryptoUpdatesError):
    """The stack failed."""


class BinaryMissingError(StackError):
    """A server's binary was not found on this machine."""


class BinaryBrokenError(StackError):
    """A server's binary cannot run on this machine."""


class PortTakenError(StackError):
    """The port is in use."""


class NotReadyError(StackError):
    """The server ended, or did not answer, in the time given."""


class LineMissingError(StackError):
    """The process did not write the line that was waited for."""
