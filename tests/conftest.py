"""Hypothesis has no deadlines here: they are for hangs, which each test's own timeout ends.

A test that lacks something of the machine is skipped, wherever it notices that.
"""

import logging
import signal
from collections.abc import Generator, Iterator

import pytest
from hypothesis import settings

from tests import machine

settings.register_profile("patient", deadline=None)
settings.load_profile("patient")


def pytest_configure() -> None:
    """A shell ignores SIGINT in what it runs in the background, and the programs under test would inherit that."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup() -> Generator[None, object, object]:
    try:
        return (yield)
    except machine.LACKS as error:
        machine.skip(error)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call() -> Generator[None, object, object]:
    try:
        return (yield)
    except machine.LACKS as error:
        machine.skip(error)


@pytest.fixture(autouse=True)
def no_log_of_an_earlier_test() -> Iterator[None]:
    """`log.setup` leaves a handler, and the end of its test closes what that writes to."""
    yield
    for handler in logging.getLogger().handlers[:]:
        if type(handler) is logging.StreamHandler:
            logging.getLogger().removeHandler(handler)
