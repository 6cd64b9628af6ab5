"""A connection that was never opened, and calls on one that is lost."""

import asyncio
import contextlib
import json
from pathlib import Path

import nkeys
import pytest
from nats.errors import ConnectionClosedError

from crypto_updates.bus import connection as module
from crypto_updates.bus.config import BusSettings
from crypto_updates.bus.connection import Connection
from tests.support import listening


async def test_a_connection_that_was_never_opened_can_be_closed() -> None:
    connection = Connection("nats://127.0.0.1:1")
    await connection.close()
    assert connection.lost.is_set()


async def test_a_connection_whose_close_takes_too_long_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    ended = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b'INFO {"server_id":"x","version":"2.10.0","headers":true,"max_payload":1048576}\r\n')
        await reader.readuntil(b"PING\r\n")
        writer.write(b"PONG\r\n")
        with contextlib.suppress(ConnectionError):
            await reader.read()
        ended.set()

    async with listening(serve) as port:
        connection = Connection(f"nats://127.0.0.1:{port}")
        await connection.open(BusSettings.load({}), "test")
        monkeypatch.setattr(module, "CLOSE_SECONDS", 0.1)
        monkeypatch.setattr(connection.nc, "_flush_pending", asyncio.Event().wait)
        await connection.close()
        await asyncio.wait_for(ended.wait(), 30)


@pytest.mark.parametrize("steps", range(3))
async def test_a_cancellation_in_the_instant_of_the_answer_ends_the_call(steps: int) -> None:
    answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
    call = asyncio.create_task(Connection("nats://127.0.0.1:4222").unless_lost(asyncio.wait_for(answer, 5)))
    for _ in range(5):
        await asyncio.sleep(0)  # until the request has begun to wait
    answer.set_result(b"")
    for _ in range(steps):
        await asyncio.sleep(0)  # of the loop, in which the answer comes up from call to call
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call


async def hang_up_behind_a_ping(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """A server that answers the PING of the connect and the next one, and then reads no more."""
    writer.write(b'INFO {"server_id":"x","version":"2.10.0","headers":true,"max_payload":1048576}\r\n')
    for _ in range(2):
        await reader.readuntil(b"PING\r\n")
        writer.write(b"PONG\r\n")
    await asyncio.sleep(0.2)


async def test_an_event_over_core_nats_is_sent_only_when_the_server_has_read_it() -> None:
    async with listening(hang_up_behind_a_ping) as port:
        connection = Connection(f"nats://127.0.0.1:{port}")
        await connection.open(BusSettings.load({}), "test")
        with pytest.raises(ConnectionClosedError):
            await asyncio.wait_for(connection.publish(b"{}", {}), 3)
        await connection.close()


async def test_a_late_answer_to_a_ping_does_not_end_the_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    thawed = asyncio.Event()

    async def freeze_behind_a_ping(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b'INFO {"server_id":"x","version":"2.10.0","headers":true,"max_payload":1048576}\r\n')
        for number in range(3):
            await reader.readuntil(b"PING\r\n")
            if number == 1:
                await thawed.wait()
            writer.write(b"PONG\r\n")
        await reader.read()

    async with listening(freeze_behind_a_ping) as port:
        connection = Connection(f"nats://127.0.0.1:{port}")
        await connection.open(BusSettings.load({}), "test")
        monkeypatch.setattr(module, "PING_SECONDS", 0.1)
        with pytest.raises(TimeoutError):
            await connection.ping()
        monkeypatch.setattr(module, "PING_SECONDS", 10)
        thawed.set()
        assert await connection.ping() < 10
        await connection.close()


async def test_a_creds_file_from_windows_logs_in(tmp_path: Path) -> None:
    seed = nkeys.encode_seed(bytes(32), nkeys.PREFIX_BYTE_USER).decode()
    text = f"-----BEGIN NATS USER JWT-----\nthe.jwt\n---\n-----BEGIN USER NKEY SEED-----\n{seed}\n---\n"
    (tmp_path / "user.creds").write_text(text, encoding="utf-8-sig", newline="\r\n")
    heard = bytearray()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b'INFO {"server_id":"x","version":"2.10.0","max_payload":1048576,"nonce":"n"}\r\n')
        heard.extend(await reader.readuntil(b"PING\r\n"))
        writer.write(b"PONG\r\n")
        await reader.read()

    async with listening(serve) as port:
        connection = Connection(f"nats://127.0.0.1:{port}")
        await connection.open(BusSettings.load({"NATS_CREDS": str(tmp_path / "user.creds")}), "test")
        await connection.close()
    sent = json.loads(heard.partition(b"\r\n")[0].removeprefix(b"CONNECT "))
    assert (sent["jwt"], len(sent["sig"])) == ("the.jwt", 88)
