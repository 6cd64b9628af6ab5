"""How requests leave the machine: proxies, NO_PROXY and certificates, as the variables say."""

import asyncio
import gc
import struct
from pathlib import Path

import httpx
import pytest
import trustme

from crypto_updates.service.config import ConfigError
from tests.support import Serve, listening
from tests.unit.test_market_coingecko import SLOT, Api, playing
from worker.config import PROXY, WorkerSettings
from worker.market import MarketError, open_market
from worker.market.network import Network

Reader, Writer = asyncio.StreamReader, asyncio.StreamWriter

COINGECKO = "https://api.coingecko.com/api/v3"


def problem(**environ: str) -> str:
    with pytest.raises(ConfigError) as refused:
        WorkerSettings.load(environ)
    return str(refused.value)


async def relay(reader: Reader, writer: Writer, port: int) -> None:
    """Pass one request on to the port, and its answer back."""
    their_reader, their_writer = await asyncio.open_connection("127.0.0.1", port)
    their_writer.write(await reader.readuntil(b"\r\n\r\n"))
    writer.write(await their_reader.readuntil(b"\r\n\r\n") + await their_reader.read(100_000))
    await writer.drain()
    their_writer.close()


async def socks(reader: Reader, writer: Writer) -> None:
    """SOCKS 5 with user and password: https://www.rfc-editor.org/rfc/rfc1928, rfc1929."""
    assert await reader.readexactly(3) == b"\5\1\2"
    writer.write(b"\5\2")
    login = await reader.readexactly(2 + len("user") + 1 + len("p@ss"))
    writer.write(b"\1\0" if login == b"\1\4user\4p@ss" else b"\1\1")
    await reader.readexactly(4)
    port = struct.unpack("!H", (await reader.readexactly(6))[4:])[0]
    writer.write(b"\5\0\0\1" + bytes(6))
    await relay(reader, writer, port)


@pytest.mark.parametrize("scheme", ["socks5", "socks5h", "socks", "SOCKS5"])
async def test_a_socks_proxy_is_used_with_its_login(scheme: str) -> None:
    async with listening(socks) as port:
        network = Network(all_proxy=f"{scheme}://user:p%40ss@127.0.0.1:{port}")
        async with playing(network=network) as (api, market):
            assert len(await market.fetch(SLOT, 5)) == 2
    assert len(api.requests) == 1


@pytest.mark.parametrize("written", ["http://user:p%40ss@127.0.0.1:{}", "user:p%40ss@127.0.0.1:{}/"])
async def test_an_http_proxy_is_used_with_its_login(written: str) -> None:
    api = Api([])
    async with listening(api.serve) as port:
        network = Network(http_proxy=written.format(port))
        async with playing(network=network) as (unasked, market):
            await market.fetch(SLOT, 5)
    assert unasked.requests == []
    assert api.requests[0]["target"].startswith("http://127.0.0.1:")
    assert api.requests[0]["proxy-authorization"] == "Basic dXNlcjpwQHNz"


async def hang_up(reader: Reader, writer: Writer) -> None:  # noqa: ARG001 - a proxy that says nothing
    await reader.read(100)


async def babble(reader: Reader, writer: Writer) -> None:
    await reader.read(100)
    writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")


async def refuse(reader: Reader, writer: Writer) -> None:
    await reader.readexactly(3)
    writer.write(b"\5\xff")


@pytest.mark.parametrize(
    ("scheme", "serve"),
    [
        ("socks5", hang_up),
        ("socks5", babble),
        ("socks5", refuse),
        ("socks5", socks),
        ("http", hang_up),
        ("http", babble),
    ],
)
# After a handshake that fails, httpcore leaves the connection to the garbage collector.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
async def test_a_proxy_that_fails_is_a_failure_of_the_market_without_its_password(serve: Serve, scheme: str) -> None:
    async with listening(serve) as port:
        network = Network(all_proxy=f"{scheme}://user:hunter2@127.0.0.1:{port}")
        async with playing(network=network, waits=()) as (_, market):
            with pytest.raises(MarketError) as failed:
                await market.fetch(SLOT, 5)
    assert "hunter2" not in str(failed.value)
    del failed
    gc.collect()


async def test_a_proxy_that_is_away_is_named() -> None:
    async with playing(network=Network(all_proxy="socks5://u:hunter2@127.0.0.1:1"), waits=()) as (_, market):
        with pytest.raises(MarketError, match=r"^CoinGecko at 127.0.0.1 through socks5://127.0.0.1:1 failed: "):
            await market.fetch(SLOT, 5)


@pytest.mark.parametrize("variable", ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"])
@pytest.mark.parametrize(
    "value",
    ["socks4://host:1", "ftp://host", "http://[::1", "http://host:99999", "http://host:0", "http://", "//host", "a b"],
)
def test_a_bad_proxy_is_told(variable: str, value: str) -> None:
    assert problem(**{variable: value}) == f"{variable}={value}: accepted: {PROXY}"


def test_small_letters_come_first_and_the_password_is_hidden() -> None:
    bad = "foo://u:hunter2@host"
    assert problem(https_proxy=bad, HTTPS_PROXY="host:1") == f"HTTPS_PROXY=foo://***@host: accepted: {PROXY}"
    assert problem(all_proxy="u:hunter2@host:x") == f"ALL_PROXY=***@host:x: accepted: {PROXY}"


@pytest.mark.parametrize(
    ("variable", "value", "cause"),
    [
        ("SSL_CERT_FILE", "/no/such.pem", "No such file or directory; accepted: the path of a PEM file"),
        ("SSL_CERT_FILE", "/", "Is a directory; accepted: the path of a PEM file"),
        ("SSL_CERT_FILE", __file__, "no PEM certificate is in it; accepted: the path of a PEM file"),
        ("SSL_CERT_DIR", "/no/such", "accepted: the path of a folder with certificates"),
        ("SSL_CERT_DIR", __file__, "accepted: the path of a folder with certificates"),
    ],
)
def test_bad_certificates_are_told(variable: str, value: str, cause: str) -> None:
    assert problem(**{variable: value}) == f"{variable}={value}: {cause}"


def test_a_key_log_that_cannot_be_written_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSLKEYLOGFILE", "/no/such/log")
    assert problem().startswith("SSL_CERT_DIR=: SSLKEYLOGFILE=/no/such/log: No such file or directory; ")


@pytest.mark.parametrize("source", ["simulated", "none"])
async def test_nothing_of_it_matters_where_nothing_is_asked(source: str) -> None:
    bad = {"ALL_PROXY": "x://", "SSL_CERT_FILE": "/no/such", "SSL_CERT_DIR": "/no/such", "MARKET_SOURCE": source}
    async with open_market(WorkerSettings.load(bad)):
        pass


@pytest.mark.parametrize(
    ("url", "no_proxy"),
    [
        (COINGECKO, "*"),
        (COINGECKO, "localhost,::1,[::1], API.CoinGecko.com"),
        (COINGECKO, "localhost coingecko.com"),
        (COINGECKO, ".coingecko.com"),
        (COINGECKO, "*.coingecko.com"),
        (COINGECKO, "api.coingecko.com:443"),
        ("http://10.1.2.3:8000", "10.0.0.0/8"),
        ("http://10.1.2.3", "10.1.2.3:80"),
        ("http://[::1]:8000", "[::1]"),
        ("http://[::1]:8000", "[::1]:8000"),
        ("http://[fe80::1]", "fe80::/10"),
    ],
)
def test_a_host_in_no_proxy_is_asked_directly(url: str, no_proxy: str) -> None:
    assert Network(all_proxy="host:1", no_proxy=no_proxy).proxy(httpx.URL(url)) is None


@pytest.mark.parametrize(
    ("url", "no_proxy"),
    [
        (COINGECKO, ""),
        (COINGECKO, " , "),
        (COINGECKO, "localhost,::1,[::1"),
        (COINGECKO, "gecko.com"),
        (COINGECKO, "api.coingecko.com:80"),
        (COINGECKO, "10.0.0.0/8"),
        ("http://10.1.2.3", "10.1.2"),
        ("http://[::1]:8000", "[::1]:8001"),
    ],
)
def test_other_hosts_are_asked_through_the_proxy(url: str, no_proxy: str) -> None:
    found = Network(all_proxy="host:1", no_proxy=no_proxy).proxy(httpx.URL(url))
    assert found is not None
    assert found.url == httpx.URL("http://host:1")


def test_the_proxy_of_the_scheme_comes_before_the_one_for_all() -> None:
    network = Network(http_proxy="one:1", https_proxy="two:2", all_proxy="three:3")
    found = [network.proxy(httpx.URL(url)) for url in ("http://a", "https://a")]
    assert [proxy and proxy.url.host for proxy in found] == ["one", "two"]


async def test_the_certificates_of_the_variables_are_trusted(tmp_path: Path) -> None:
    ca, folder = trustme.CA(), tmp_path / "certificates"
    ca.cert_pem.write_to_path(tmp_path / "ca.pem")
    folder.mkdir()
    settings = WorkerSettings.load({"SSL_CERT_FILE": str(tmp_path / "ca.pem"), "SSL_CERT_DIR": f"/no:{folder}"})
    assert len(settings.network.context().get_ca_certs()) == 1
    assert len(Network().context().get_ca_certs()) > 100
