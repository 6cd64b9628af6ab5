"""What the worker, the API stub and the stack share: the one name that an installation adds."""

__version__ = "0.1.0"
