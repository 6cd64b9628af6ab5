"""A host that is cut off hears nobody and is not heard, while this thread reaches every host."""

import socket
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress

import pytest

from crypto_updates.local.process import Process
from tests.chaos.network import Network

PORT = 4000
SERVER = "import socket, sys\nserver = socket.create_server((sys.argv[1], int(sys.argv[2])))\nprint('up', flush=True)\n"
SERVER += "while True: server.accept()[0].close()"
CLIENT = "import socket, sys; socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=0.5)"


@pytest.fixture
def network() -> Iterator[Network]:
    """With a server at each of three hosts."""
    with Network(3) as network, ExitStack() as closing:
        for place in network.places:
            server = Process([*place.command, sys.executable, "-c", SERVER, place.host, str(PORT)])
            closing.callback(server.stop)
            server.wait_for_line("up")
        yield network


def reached(network: Network) -> set[tuple[int, int]]:
    """The pairs of hosts, by their numbers, of which the first can connect to the second."""
    calls = {
        (one, other): Process([*there.command, sys.executable, "-c", CLIENT, to.host, str(PORT)])
        for one, there in enumerate(network.places)
        for other, to in enumerate(network.places)
        if one != other
    }
    return {pair for pair, call in calls.items() if call.wait() == 0}


def reached_from_here(network: Network) -> set[int]:
    found = set()
    for number, place in enumerate(network.places):
        with suppress(OSError), socket.create_connection((place.host, PORT), timeout=5):
            found.add(number)
    return found


def test_a_host_that_is_cut_off_is_parted_from_the_others_and_from_nobody_else(network: Network) -> None:
    everybody = {(0, 1), (0, 2), (1, 0), (1, 2), (2, 0), (2, 1)}
    assert reached(network) == everybody
    network.cut(1)
    assert reached(network) == {(0, 2), (2, 0)}
    assert reached_from_here(network) == {0, 1, 2}
    network.cut(2)
    assert reached(network) == set()
    network.heal(1)
    assert reached(network) == {(0, 1), (1, 0)}
    network.heal()
    assert reached(network) == everybody


def links() -> set[str]:
    """The names of the hosts' links that this thread sees."""
    return {name for _, name in socket.if_nameindex() if name.startswith("host")}


def test_the_machine_sees_no_link_of_the_network() -> None:
    """A browser breaks off its requests when a link comes or goes."""
    with ThreadPoolExecutor(1) as machine:
        assert machine.submit(links).result() == set()
        with Network(2):
            assert links() == {"host0", "host1"}
            assert machine.submit(links).result() == set()
        assert links() == set()
