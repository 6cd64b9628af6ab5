"""The port of the routes between the NATS servers of a cluster, and somebody who is no such server."""

import json
import os
import re
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import trustme

import stack.setup.credentials as one_shot
from crypto_updates.local import ports
from crypto_updates.local.servers import NatsServer
from stack.setup.config import CredentialSettings
from tests.e2e.security.conftest import config
from tests.support import HANG_SECONDS, eventually

REFUSED = "-ERR 'Authorization Violation'"
FOLDERS = ("home", "nats", "mongo", "provision", "worker", "api_stub", "stack")


class Cluster:
    """One of the servers, with what `credentials` writes for it; a client without a login is let in."""

    def __init__(self, folder: Path, tls: str) -> None:
        self.folder = folder
        self.tls = tls
        self.port = ports.free()
        (own := folder / "own").mkdir()
        for name in FOLDERS:
            (folder / name).mkdir()
        authority = trustme.CA()
        authority.cert_pem.write_to_path(own / "ca.pem")
        for name in ("nats", "mongo"):
            authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(own / f"{name}.pem")
        settings = {"CREDENTIALS_DIR": str(folder), "SECRETS_DIR": str(own), "NATS_ANONYMOUS": "on", "TLS": tls}
        one_shot.write(CredentialSettings.load(settings), cluster=True)

    @property
    def password(self) -> str:
        return (self.folder / "home" / "nats-route").read_text(encoding="utf-8")

    def config(self, port: int) -> str:
        """Of a server that others reach at this port: with this machine's addresses, and where its certificates are."""
        text = re.sub(r"@nats[23]?:6222", f"@127.0.0.1:{self.port}", config(self.folder))
        text = text.replace("0.0.0.0:6222", f"127.0.0.1:{port}")
        return text.replace("/run/secrets/", f"{self.folder}/nats/")

    def said_to(self, password: str | None, certificate: Path | None = None) -> str:
        """What the server says to somebody who connects like another server and then asks for an answer."""
        login = {"user": "route", "pass": password} if password else {}
        connect = {"verbose": False, "name": "other", "cluster": "crypto-updates", "server_id": "OTHER"} | login
        with (
            socket.create_connection(("127.0.0.1", self.port), timeout=10) as plain,
            self._secured(plain, certificate) if self.tls else plain as link,
        ):
            link.sendall(f"CONNECT {json.dumps(connect)}\r\nPING\r\n".encode())
            told = ""
            while REFUSED not in told and "PONG" not in told and (more := link.recv(4096)):
                told += more.decode()
            return told

    def _secured(self, plain: socket.socket, certificate: Path | None) -> ssl.SSLSocket:
        context = ssl.create_default_context(cafile=str(self.folder / "nats" / "ca.pem"))
        if certificate:
            context.load_cert_chain(certificate)
        return context.wrap_socket(plain, server_hostname="127.0.0.1")


@pytest.fixture(params=["", "on"], ids=["clear", "tls"])
def cluster(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    monkeypatch.setattr(one_shot, "MONGOD_GID", os.getgid())
    found = Cluster(tmp_path, request.param)
    with NatsServer(config=found.config(found.port), jetstream=False):
        yield found


def test_nobody_without_the_password_of_the_routes_gets_in(cluster: Cluster) -> None:
    own = cluster.folder / "own" / "nats.pem"
    subscriber = (cluster.folder / "home" / "nats-subscriber").read_text(encoding="utf-8")
    for password in (None, "wrong", subscriber):
        assert REFUSED in cluster.said_to(password, own)
    assert "PONG" in cluster.said_to(cluster.password, own)


@pytest.mark.parametrize("cluster", ["on"], indirect=True)
def test_with_tls_nor_does_anybody_without_a_certificate_of_the_same_authority(
    cluster: Cluster, tmp_path: Path
) -> None:
    trustme.CA().issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(tmp_path / "foreign.pem")
    for certificate in (None, tmp_path / "foreign.pem"):
        try:
            told = cluster.said_to(cluster.password, certificate)
        except OSError as error:  # or the server ends the connection without a word
            told = str(error)
        assert "PONG" not in told


def test_the_servers_find_each_other(cluster: Cluster) -> None:
    with NatsServer(config=cluster.config(ports.free()), jetstream=False) as other:
        url = f"{other.monitor_url}/routez"
        assert eventually(lambda: httpx.get(url, timeout=HANG_SECONDS, trust_env=False).json()["num_routes"])
