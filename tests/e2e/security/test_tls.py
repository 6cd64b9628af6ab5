"""NATS over TLS with a CA of one's own, and what is done where TLS was asked for and is not to be had."""

import asyncio
from pathlib import Path

import nats.errors
import pytest
import trustme

from crypto_updates.bus.config import BusSettings
from crypto_updates.bus.connection import Connection
from crypto_updates.bus.errors import reason
from crypto_updates.local.servers import NatsServer
from tests.support import listening, settled

CA = trustme.CA()


@pytest.fixture
def pem(tmp_path: Path) -> Path:
    """The folder with the CA and the server's certificate."""
    CA.cert_pem.write_to_path(tmp_path / "ca.pem")
    CA.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(tmp_path / "server.pem")
    trustme.CA().cert_pem.write_to_path(tmp_path / "other.pem")
    return tmp_path


def tls(pem: Path) -> str:
    return f"tls {{ cert_file: '{pem}/server.pem', key_file: '{pem}/server.pem' }}"


@pytest.mark.parametrize("scheme", ["nats", "tls"])
async def test_it_connects_with_the_ca_that_was_given(pem: Path, scheme: str) -> None:
    with NatsServer(config=tls(pem)) as server:
        connection = Connection(f"{scheme}://127.0.0.1:{server.port}")
        await connection.open(BusSettings.load({"NATS_CA": str(pem / "ca.pem")}), "test")
        await settled(connection.nc)
        await connection.close()


async def test_a_server_with_another_certificate_is_refused_and_told(pem: Path) -> None:
    with NatsServer(config=tls(pem)) as server:
        connection = Connection(server.url)
        with pytest.raises(OSError) as refused:  # noqa: PT011 - what is said of it is what counts
            await connection.open(BusSettings.load({"NATS_CA": str(pem / "other.pem")}), "test")
        await connection.close()
        told = reason(refused.value, server.url)
    assert told == f"TLS_FAILED {server.url}: verify NATS_CA and the server's certificate"


@pytest.mark.parametrize("asked", ["tls://", "NATS_CA"])
async def test_no_password_is_sent_to_a_server_that_says_it_has_no_tls(pem: Path, asked: str) -> None:
    """As somebody in between would have it."""
    heard = bytearray()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b'INFO {"server_id":"x","version":"2.15.1","proto":1,"headers":true,"max_payload":1048576}\r\n')
        heard.extend(await reader.read(1000))

    async with listening(serve) as port:
        url = f"{'tls' if asked == 'tls://' else 'nats'}://127.0.0.1:{port}"
        environ = {"NATS_USER": "worker", "NATS_PASSWORD": "secret"}
        connection = Connection(url)
        settings = BusSettings.load(environ | ({"NATS_CA": str(pem / "ca.pem")} if asked == "NATS_CA" else {}))
        with pytest.raises(nats.errors.SecureConnRequiredError) as refused:
            await connection.open(settings, "test")
        await connection.close()
    assert not heard
    assert reason(refused.value, url) == f"TLS_MISSING {url}: the server has no TLS, which tls:// or NATS_CA asks for"
