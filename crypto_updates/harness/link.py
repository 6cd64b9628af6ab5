"""A link between a client and a server on loopback, with faults that are switched while it runs."""

import asyncio
import contextlib
import socket
import struct
import threading
from collections.abc import Callable
from typing import Self

from crypto_updates.local import ports

CHUNK = 65_536
# Makes closing a socket send RST.
LINGER = struct.pack("ii", 1, 0)
# Seconds for a switch to have worked.
PATIENCE = 10.0


class _Line:
    """A client's connection and the one to the server that it was given.

    `silent`: bytes have been withheld from the client, so that what follows would make no sense to it any more.
    """

    def __init__(self, client: tuple[asyncio.StreamReader, asyncio.StreamWriter]) -> None:
        self.client = client
        self.server: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        self.silent = False

    def close(self, *, reset: bool = False) -> None:
        for _, writer in filter(None, (self.client, self.server)):
            _close(writer, reset=reset)


class Link:
    """Forwards `port` to `target`, as it is used in a `with` statement, on a thread and an event loop of its own.

    Each fault lasts until `heal`. What a fault did to a connection stays: a client that lost bytes gets no more.
    """

    def __init__(self, target: int) -> None:
        self.target = target
        self.port = ports.free()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="link", daemon=True)
        self._server: asyncio.Server | None = None
        self._lines: set[_Line] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._open = asyncio.Event()
        self._resetting = self._mute = self._half_open = False
        self._delay, self._size = 0.0, CHUNK

    def __enter__(self) -> Self:
        self._thread.start()
        self.heal()
        return self

    def __exit__(self, *_: object) -> None:
        self._call(self._stop)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(PATIENCE)
        self._loop.close()

    def cut(self) -> None:
        """Connections are closed, and new ones refused."""
        self._call(self._unlisten)
        self._call(self._close_all)

    def hang(self) -> None:
        """Connections stand and are taken, and nothing passes until `heal`; then all that was sent does."""
        self._call(self._open.clear)

    def reset(self) -> None:
        """Connections are reset, new ones as soon as they are there."""
        self._resetting = True
        self._call(lambda: self._close_all(reset=True))

    def half_open(self) -> None:
        """The server is gone from every connection, new ones included, and the client is never told."""
        self._half_open = True
        self._call(self._leave_all)

    def slow(self, delay: float, size: int = CHUNK) -> None:
        """Each piece of at most `size` bytes takes `delay` seconds."""
        self._delay, self._size = delay, size

    def drop_replies(self) -> None:
        """Requests reach the server, its replies are lost. `heal` resets the connections on which that happened."""
        self._mute = True

    def inject(self, data: bytes) -> None:
        """Send this to every client, as if the server had."""
        self._call(lambda: self._write_all(data))

    def heal(self) -> None:
        mute, self._resetting, self._half_open, self._mute = self._mute, False, False, False
        self._delay, self._size = 0.0, CHUNK
        self._call(self._open.set)
        if mute:
            self._call(lambda: self._close_all(reset=True, only=lambda line: line.silent))
        asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result(PATIENCE)

    def _call(self, function: Callable[[], object]) -> None:
        async def called() -> None:
            function()

        asyncio.run_coroutine_threadsafe(called(), self._loop).result(PATIENCE)

    async def _listen(self) -> None:
        if self._server is None:
            self._server = await asyncio.start_server(self._accept, "127.0.0.1", self.port)

    def _unlisten(self) -> None:
        if self._server:
            self._server.close()
            self._server = None

    def _stop(self) -> None:
        self._unlisten()
        self._close_all()
        for task in self._tasks:
            task.cancel()

    def _close_all(self, *, reset: bool = False, only: Callable[[_Line], bool] = lambda _: True) -> None:
        for line in filter(only, list(self._lines)):
            line.close(reset=reset)

    def _leave_all(self) -> None:
        for line in self._lines:
            line.silent = True
            if line.server:
                _close(line.server[1], reset=True)

    def _write_all(self, data: bytes) -> None:
        for line in self._lines:
            line.client[1].write(data)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        line = _Line((reader, writer))
        task = asyncio.current_task()
        self._lines.add(line)
        if task:
            self._tasks.add(task)
        with contextlib.suppress(OSError, asyncio.CancelledError):
            await self._serve(line)
        line.close()
        self._lines.discard(line)
        if task:
            self._tasks.discard(task)

    async def _serve(self, line: _Line) -> None:
        if self._resetting:
            line.close(reset=True)
            return
        line.silent = self._half_open
        if not line.silent:
            line.server = await asyncio.open_connection("127.0.0.1", self.target)
            down = asyncio.create_task(self._down(line, *line.server))
        await self._up(line)
        if line.server:
            down.cancel()

    async def _up(self, line: _Line) -> None:
        with contextlib.suppress(OSError):
            while data := await line.client[0].read(self._size):
                await self._pass()
                if line.server and not line.server[1].is_closing():
                    line.server[1].write(data)
                    await line.server[1].drain()

    async def _down(self, line: _Line, reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(self._size):
                await self._pass()
                line.silent = line.silent or self._mute
                if not line.silent:
                    line.client[1].write(data)
                    await line.client[1].drain()
        await self._open.wait()
        if not line.silent:
            _close(line.client[1])

    async def _pass(self) -> None:
        await self._open.wait()
        await asyncio.sleep(self._delay)


def _close(writer: asyncio.StreamWriter, *, reset: bool = False) -> None:
    connection = writer.get_extra_info("socket")
    if reset and connection and connection.fileno() >= 0:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER)
        writer.transport.abort()
    else:
        writer.close()
