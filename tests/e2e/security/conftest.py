"""The servers with the configuration and the credentials of the Compose stack, and once more without any limits."""

import os
import re
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from nats.aio.client import Client

import stack.setup.credentials as one_shot
from crypto_updates.bus import claims
from crypto_updates.bus.stream import DURABLE, OWN_DURABLE, stream_config, update_consumer, update_stream
from crypto_updates.local.servers import Mongod, NatsServer
from stack.setup.config import CredentialSettings
from tests.support import ROOT, connect

CONFIG = "".join((ROOT / "nats" / name).read_text(encoding="utf-8") for name in ("nats-server.conf", "accounts.conf"))
USERS = ("worker", "api_stub", "subscriber", "operator", "consumer")
# The same configuration, with the ack subject's second form, which will be the default of nats-server 2.16.
ACK_V2 = "confined, js_ack_fc_v2"
# The same with NATS_ANONYMOUS=on.
ANONYMOUS = "confined, anonymous"
# The user needs no settings but its login.
USES_DEFAULT_INBOX = ("consumer", "anonymous")
FOLDERS = ("home", "nats", "mongo", "provision", "worker", "api_stub", "stack")


@pytest.fixture(scope="module")
def vault(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the credentials, as the one-shot writes it."""
    folder = tmp_path_factory.mktemp("credentials")
    for name in FOLDERS:
        (folder / name).mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(one_shot, "MONGOD_GID", os.getgid())
        settings = {"CREDENTIALS_DIR": str(folder), "SECRETS_DIR": str(folder / "none")}
        one_shot.write(CredentialSettings.load(settings | {"NATS_ANONYMOUS": "on"}))
        (folder / "nats" / "users.conf").rename(folder / "nats" / "anonymous.conf")
        one_shot.write(CredentialSettings.load(settings))
    return folder


def config(vault: Path, name: str = "users") -> str:
    """The files in nats/, but for the addresses, which a test must have free, and where it finds the users."""
    users = (vault / "nats" / f"{name}.conf").read_text(encoding="utf-8")
    own = re.sub(r"^(server_name|listen|http|include|  store_dir)\b.*\n", "", CONFIG, flags=re.MULTILINE)
    return f"STORE_BYTES: 3GB\n{users}{own}"


def without_limits(vault: Path) -> str:
    """The same users, all in one account and without permissions, as one would write it at first."""
    users = "\n".join(re.findall(r"^\w+_HASH: .*$", (vault / "nats" / "users.conf").read_text(), re.MULTILINE))
    entries = "\n".join(f"{{ user: {name}, password: ${name.upper()}_HASH }}" for name in (*USERS, "provision"))
    return (
        users
        + f"\njetstream {{ strict: false }}\naccounts {{ ALL {{ jetstream: enabled, users: [\n{entries}\n] }} }}\n"
    )


class Bastion:
    """A nats-server and its users' clients.

    `patience`: how many seconds a request waits for its answer. `refusals`: what the server said to each user.
    """

    def __init__(self, server: NatsServer, vault: Path, patience: float) -> None:
        self.server = server
        self.patience = patience
        self.refusals: dict[str, list[str]] = {}
        self._vault = vault
        self._closing = AsyncExitStack()

    def password(self, user: str) -> str:
        return (self._vault / "home" / f"nats-{user}").read_text(encoding="utf-8")

    def refused(self, user: str, subject: str) -> bool:
        """True if the server has said that the user may not publish there."""
        return any(f'"{subject.lower()}"' in told for told in self.refusals[user])

    async def client(self, user: str) -> Client:
        told = self.refusals.setdefault(user, [])

        async def on_error(error: Exception) -> None:
            told.append(str(error))

        options = {"error_cb": on_error, "allow_reconnect": False}
        if user not in USES_DEFAULT_INBOX:
            options |= {"inbox_prefix": f"_INBOX_{user}"}
        if user != "anonymous":
            options |= {"user": user, "password": self.password(user)}
        client = await connect(self.server.url, **options)  # type: ignore[arg-type]
        self._closing.push_async_callback(client.close)
        return client

    async def restore(self, admin: Client) -> None:
        """The streams, one of them with three events, one of those delivered, and the consumer."""
        js = admin.jetstream()
        for config in (stream_config, claims.stream_config):
            await update_stream(js, config(1))
        for durable in (DURABLE, OWN_DURABLE):
            await update_consumer(js, durable)
        if (await js.stream_info("CRYPTO")).state.messages != 3:
            await js.purge_stream("CRYPTO")
            for _ in range(3):
                await js.publish("crypto.updates", b'{"event":"CRYPTO_UPDATE","timestamp":"2023-11-21T14:30:00Z"}')

    async def close(self) -> None:
        await self._closing.aclose()


@pytest.fixture(params=["confined", ACK_V2, ANONYMOUS, "without limits"])
async def bastion(request: pytest.FixtureRequest, vault: Path) -> AsyncIterator[Bastion]:
    is_confined = request.param != "without limits"
    users = "anonymous" if request.param == ANONYMOUS else "users"
    text = config(vault, users) if is_confined else without_limits(vault)
    flag = "feature_flags { js_ack_fc_v2: true }\n" if request.param == ACK_V2 else ""
    with NatsServer(config=flag + text, jetstream=not is_confined) as server:
        # Confined, some requests have no answer, and each would cost the whole wait; without limits, each has one.
        bastion = Bastion(server, vault, 0.15 if is_confined else 5)
        yield bastion
        await bastion.close()


class Confined(Mongod):
    """A mongod with access control. `key`: its key file, and the password of the one user that it has at first."""

    key: Path

    def _args(self, port: int) -> list[str]:
        return [*super()._args(port), "--keyFile", str(self.key), "--noscripting"]

    def _answers(self, port: int) -> bool:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            return False
        return True


@pytest.fixture(scope="module")
def confined_mongod(vault: Path) -> Iterator[Confined]:
    server = Confined()
    server.key = vault / "home" / "key-of-mongod"
    server.key.write_text((vault / "mongo" / "key").read_text(encoding="utf-8"), encoding="utf-8")
    server.key.chmod(0o400)
    with server:
        yield server
