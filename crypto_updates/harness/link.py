"""A link between a client and a server on loopback, with faults that are switched while it runs."""

import asyncio
import contextlib
import socket
import struct
from collections.abc import Callable
from contextlib import ExitStack
from typing import Self

from crypto_updates.harness.condition import outcome
from crypto_updates.harness.env import LOOPBACK
from crypto_updates.harness.loop import Loop
from crypto_updates.local import ports
from crypto_updates.local.errors import PortTakenError
from crypto_updates.local.fault import until

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
    """Forwards `port` (0: a free one) to the server's port, as it is used in a `with` statement.

    Each fault begins at once and lasts until `heal`, or until the end of a `with` on what it returns. What a fault did
    to a connection stays: a client that lost bytes gets no more. `used`: the ports that clients came in by.
    """

    def __init__(self, target: int, port: int = 0, host: str = LOOPBACK) -> None:
        """`host`: the address to listen on."""
        self.target = target
        self.used: set[int] = set()
        self._host = host
        self._any_port = not port
        self.port = port or ports.free()
        self._loop = Loop("link")
        self._doors: dict[int, list[asyncio.Server]] = {self.port: []}
        self._lines: set[_Line] = set()
        self._open = asyncio.Event()
        self._listening = asyncio.Lock()  # two faults may end at once
        self._resetting = self._mute = self._half_open = self._cut = False
        self._delay, self._size = 0.0, CHUNK

    def __enter__(self) -> Self:
        self._loop.__enter__()
        try:
            self.heal()
        except BaseException:
            self._loop.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call(self._stop)
        self._loop.__exit__()
        if self._any_port:
            ports.release(self.port)

    @property
    def ports(self) -> set[int]:
        """Those that it listens on."""
        return {*self._doors}

    def listen(self, port: int, within: float = 60.0) -> None:
        """Forward this port of localhost too, for a client with an address that cannot be changed.

        If the port is not free, as when another test has it, wait. Raises PortTakenError after `within` seconds.
        """
        if port in self._doors:
            return
        self._doors[port] = []
        if not outcome(self._opened, within):
            del self._doors[port]
            raise PortTakenError(f"127.0.0.1:{port}: {ports.problem(port)}; accepted: a free port")

    def cut(self) -> ExitStack:
        """Connections are closed, and new ones refused."""
        self._cut = True
        self._loop.call(self._unlisten)
        self._loop.call(self._close_all)
        return until(self.heal)

    def hang(self) -> ExitStack:
        """Connections stand and are taken, and nothing passes until `heal`; then all that was sent does."""
        self._loop.call(self._open.clear)
        return until(self.heal)

    def reset(self) -> ExitStack:
        """Connections are reset, new ones as soon as they are there."""
        self._resetting = True
        self._loop.call(lambda: self._close_all(reset=True))
        return until(self.heal)

    def half_open(self) -> ExitStack:
        """The server is gone from every connection, new ones included, and the client is never told."""
        self._half_open = True
        self._loop.call(self._leave_all)
        return until(self.heal)

    def slow(self, delay: float = 0.2, size: int = CHUNK) -> ExitStack:
        """Each piece of at most `size` bytes takes `delay` seconds."""
        self._delay, self._size = delay, size
        return until(self.heal)

    def drop_replies(self) -> ExitStack:
        """Requests reach the server, its replies are lost. `heal` resets the connections on which that happened."""
        self._mute = True
        return until(self.heal)

    def inject(self, data: bytes) -> None:
        """Send this to every client, as if the server had."""
        self._loop.call(lambda: self._write_all(data))

    def heal(self) -> None:
        mute, self._resetting, self._half_open, self._mute = self._mute, False, False, False
        self._delay, self._size, self._cut = 0.0, CHUNK, False
        self._loop.call(self._open.set)
        if mute:
            self._loop.call(lambda: self._close_all(reset=True, only=lambda line: line.silent))
        self._loop.run(self._listen())

    def _opened(self) -> bool:
        """True if it listens on each port, or is not to listen."""
        try:
            if not self._cut:
                self._loop.run(self._listen())
        except OSError:
            return False
        return True

    async def _listen(self) -> None:
        async with self._listening:
            for port, servers in self._doors.items():
                if not servers:
                    servers.append(await asyncio.start_server(self._accept, self._host, port))
                    if self._host == LOOPBACK:  # `localhost` may mean ::1, where there is one
                        with contextlib.suppress(OSError):
                            servers.append(await asyncio.start_server(self._accept, "::1", port))

    def _unlisten(self) -> None:
        for servers in self._doors.values():
            for server in servers:
                server.close()
            servers.clear()

    def _stop(self) -> None:
        self._unlisten()
        self._close_all()

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
        self.used.add(writer.get_extra_info("sockname")[1])
        line = _Line((reader, writer))
        self._lines.add(line)
        with contextlib.suppress(OSError, asyncio.CancelledError):
            await self._serve(line)
        line.close()
        self._lines.discard(line)

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
