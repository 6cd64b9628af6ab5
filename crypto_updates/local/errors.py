"""The errors of the stack."""


class StackError(Exception):
    """The stack failed."""

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or self.__doc__)


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
