"""Each fault of the link does to a connection what its name says."""

import socket
import socketserver
import threading
import time
from collections.abc import Iterator
from contextlib import suppress

import pytest

from crypto_updates.harness.link import Link
from crypto_updates.local import ports
from crypto_updates.local.errors import PortTakenError
from tests.support import eventually, serving

QUIET = 0.3


class Server(socketserver.ThreadingTCPServer):
    """Answers what it gets in capitals, and keeps it."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.received = b""
        self.clients: list[socket.socket] = []
        self.port: int = self.server_address[1]

    def hang_up(self) -> None:
        for client in self.clients:
            client.shutdown(socket.SHUT_RDWR)


class Handler(socketserver.BaseRequestHandler):
    server: Server

    def handle(self) -> None:
        self.server.clients.append(self.request)
        try:
            while data := self.request.recv(65_536):
                self.server.received += data
                self.request.sendall(data.upper())
        except OSError:
            pass


@pytest.fixture
def server() -> Iterator[Server]:
    running = Server()
    with serving(running):
        yield running


@pytest.fixture
def link(server: Server) -> Iterator[Link]:
    with Link(server.port) as running:
        yield running


@pytest.fixture
def client(link: Link) -> Iterator[socket.socket]:
    """A connection that has been used."""
    with connect(link) as connection:
        assert ask(connection, b"hello") == b"HELLO"
        yield connection


def connect(link: Link) -> socket.socket:
    return socket.create_connection(("127.0.0.1", link.port), timeout=5)


def ask(connection: socket.socket, data: bytes, within: float = 5.0) -> bytes:
    connection.settimeout(within)
    connection.sendall(data)
    answer = b""
    while len(answer) < len(data):
        if not (piece := connection.recv(65_536)):
            break
        answer += piece
    return answer


def received(server: Server, data: bytes) -> bool:
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline and not server.received.endswith(data):
        time.sleep(0.01)
    return server.received.endswith(data)


def healed(link: Link) -> bool:
    """True if a new connection works after `heal`."""
    link.heal()
    with connect(link) as fresh:
        return ask(fresh, b"well") == b"WELL"


def test_without_a_fault_all_passes(client: socket.socket) -> None:
    data = bytes(range(97, 123)) * 100_000
    threading.Thread(target=client.sendall, args=[data]).start()
    answer = b""
    while len(answer) < len(data):
        answer += client.recv(65_536)
    assert answer == data.upper()


def test_cut_closes_and_refuses(link: Link, client: socket.socket) -> None:
    link.cut()
    assert client.recv(1) == b""
    with pytest.raises(ConnectionRefusedError):
        connect(link)
    assert healed(link)


def test_hang_passes_nothing_and_later_all(link: Link, server: Server, client: socket.socket) -> None:
    link.hang()
    with connect(link) as other:
        for connection in (client, other):
            with pytest.raises(TimeoutError):
                ask(connection, b"quiet", QUIET)
        assert server.received == b"hello"
        link.heal()
        for connection in (client, other):
            connection.settimeout(5)
            assert connection.recv(5) == b"QUIET"


def test_hang_tells_nobody_that_the_server_has_gone(link: Link, server: Server, client: socket.socket) -> None:
    link.hang()
    server.hang_up()
    client.settimeout(QUIET)
    with pytest.raises(TimeoutError):
        client.recv(1)
    link.heal()
    client.settimeout(5)
    assert client.recv(1) == b""


def test_reset_resets_old_and_new_connections(link: Link, client: socket.socket) -> None:
    link.reset()
    with pytest.raises(ConnectionResetError):
        client.recv(1)
    with pytest.raises(ConnectionResetError), connect(link) as fresh:  # it may come before connect() returns
        fresh.recv(1)
    assert healed(link)


def test_half_open_leaves_the_client_without_a_server_for_good(
    link: Link, server: Server, client: socket.socket
) -> None:
    link.half_open()
    with connect(link) as late:
        with pytest.raises(TimeoutError):
            ask(late, b"lost", QUIET)
        assert healed(link)
        for connection in (client, late):
            with pytest.raises(TimeoutError):
                ask(connection, b"lost", QUIET)
    assert server.received == b"hellowell"


def test_slow_takes_its_time_for_each_piece(link: Link, client: socket.socket) -> None:
    link.slow(0.1, size=10)
    assert ask(client, b"a") == b"A"  # the reads that were waiting had the old size
    begin = time.monotonic()
    assert ask(client, 30 * b"b") == 30 * b"B"
    assert time.monotonic() - begin > 0.35
    link.heal()
    assert ask(client, b"a") == b"A"


def test_dropped_replies_are_to_requests_that_reached_the_server(
    link: Link, server: Server, client: socket.socket
) -> None:
    link.drop_replies()
    with pytest.raises(TimeoutError):
        ask(client, b"request", QUIET)
    assert received(server, b"request")
    assert eventually(lambda: any(line.silent for line in link._lines))  # the reply has come to the link, and is lost
    link.heal()
    with pytest.raises(ConnectionResetError):
        client.recv(1)
    assert healed(link)


@pytest.mark.parametrize("fault", ["cut", "hang", "reset", "half_open", "slow", "drop_replies"])
def test_each_fault_ends_with_its_with_statement(link: Link, fault: str) -> None:
    with getattr(link, fault)(), suppress(OSError), connect(link) as broken:
        assert fault == "slow" or ask(broken, b"lost", QUIET) != b"LOST"
    with connect(link) as fresh:
        assert ask(fresh, b"well") == b"WELL"


def test_it_listens_on_a_second_port_that_becomes_free(link: Link) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(PortTakenError, match=f"127.0.0.1:{port}: Address already in use; accepted: a free port"):
            link.listen(port, within=0.1)
    link.listen(port)
    with socket.create_connection(("localhost", port), timeout=5) as client:
        assert ask(client, b"well") == b"WELL"


def test_a_second_port_that_is_asked_for_again_is_cut_all_the_same(link: Link) -> None:
    port = ports.free()
    for _ in range(2):
        link.listen(port, within=0)
    with link.cut(), pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), timeout=5)
    with socket.create_connection(("127.0.0.1", port), timeout=5) as client:
        assert ask(client, b"well") == b"WELL"


def test_injected_bytes_reach_the_client(link: Link, client: socket.socket) -> None:
    link.inject(b"-ERR 'Stale Connection'\r\n")
    assert client.recv(100) == b"-ERR 'Stale Connection'\r\n"


def test_a_server_that_closes_is_told_to_the_client(server: Server, client: socket.socket) -> None:
    server.hang_up()
    assert client.recv(1) == b""


def test_a_server_that_is_down_closes_the_connection() -> None:
    with Link(1) as link, connect(link) as client:
        assert client.recv(1) == b""
