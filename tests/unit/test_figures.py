"""What the refusals of the server mean, for all who ask for the figures of stream and consumer."""

import asyncio
from typing import cast

import nats.errors
import pytest
from nats.js import JetStreamContext
from nats.js.errors import NotFoundError, ServiceUnavailableError

from crypto_updates.bus import figures
from crypto_updates.bus.connection import Connection
from crypto_updates.bus.figures import AbsentError, FiguresError


class Refusing:
    """A JetStream that answers every question with the same error, or never."""

    def __init__(self, error: Exception | None) -> None:
        self._error = error

    async def stream_info(self, _name: str) -> None:
        if self._error:
            raise self._error
        await asyncio.Event().wait()


def refused(error: Exception | None, *, has_jetstream: bool = True) -> Connection:
    connection = Connection("nats://127.0.0.1:4222")
    connection._api_prefix = "$JS.API"
    connection.nc._server_info = {"jetstream": has_jetstream}
    connection.js = cast(JetStreamContext, Refusing(error))
    return connection


@pytest.mark.parametrize(
    ("error", "problem"),
    [
        (NotFoundError(404, "stream not found", 10059), "there is no stream CRYPTO: run `crypto-updates provision`"),
        (ServiceUnavailableError(503, "not enabled", 10076), "The NATS server has no JetStream: start nats-server "),
        (ServiceUnavailableError(503, "not enabled for account", 10039), "the NATS account has no JetStream: enable "),
    ],
)
async def test_what_is_absent_is_named_with_the_way_out(error: Exception, problem: str) -> None:
    with pytest.raises(AbsentError) as caught:
        await figures.read(refused(error))
    assert str(caught.value).startswith(problem)


async def test_a_server_whose_info_has_no_jetstream_has_none() -> None:
    with pytest.raises(AbsentError, match=r"^The NATS server has no JetStream: .*, or set DELIVERY=core$"):
        await figures.read(refused(ServiceUnavailableError(), has_jetstream=False))


@pytest.mark.parametrize(
    ("error", "problem"),
    [
        (ServiceUnavailableError(503, "system temporarily unavailable", 10008), "system temporarily unavailable: "),
        (ServiceUnavailableError(), "nobody answers at $JS.API: verify NATS_API_PREFIX"),
        (nats.errors.TimeoutError(), "no answer about the stream CRYPTO within 2 s: "),
        (None, "no answer about the stream CRYPTO within "),
        (nats.errors.ConnectionClosedError(), "nats: connection closed: "),
    ],
)
async def test_what_passes_or_is_not_permitted_is_not_taken_for_absent(
    error: Exception | None, problem: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(figures, "NATS_REPLY_SECONDS", 0.01 if error is None else 2.0)
    with pytest.raises(FiguresError) as caught:
        await figures.read(refused(error))
    assert not isinstance(caught.value, AbsentError)
    assert str(caught.value).startswith(problem)


async def test_core_nats_has_no_figures() -> None:
    connection = Connection("nats://127.0.0.1:4222")
    assert (await figures.read(connection), await figures.differences(connection, 3)) == (None, [])
