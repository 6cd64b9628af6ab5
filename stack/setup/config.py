"""The settings of the set-up."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, SecretStr

from api_stub.config import StoreSettings
from crypto_updates.bus.config import BusSettings
from crypto_updates.service.config import ServiceSettings

# Shorter ones can be guessed from outside; the servers do not slow a guesser down.
SHORTEST = 16


def _password(password: SecretStr | None) -> SecretStr | None:
    if password and not (len(password) >= SHORTEST and password.get_secret_value().isprintable()):
        raise ValueError
    return password


Password = Annotated[SecretStr | None, AfterValidator(_password)]


def _own() -> Password:
    # bcrypt takes 72 bytes; a longer password would be cut.
    return Field(None, max_length=72, description=f"{SHORTEST} to 72 printable characters")


class CredentialSettings(ServiceSettings):
    """A secret that is not given is made, once."""

    credentials_dir: Path = Field(Path("/credentials"), description="the path of a folder")
    nats_provision_password: Password = _own()
    nats_operator_password: Password = _own()
    nats_worker_password: Password = _own()
    nats_api_stub_password: Password = _own()
    nats_subscriber_password: Password = _own()
    mongo_writer_password: Password = _own()
    mongo_reader_password: Password = _own()
    mongo_operator_password: Password = _own()
    coingecko_api_key: SecretStr | None = None
    tls: Literal["on"] | None = Field(None, description="on, or nothing")
    tls_dir: Path = Field(Path("secrets"), description="the path of a folder with ca.pem, nats.pem and mongo.pem")

    def own(self, name: str) -> str | None:
        """The user's own secret of that name, `nats-worker` for one."""
        given: SecretStr | None = getattr(self, f"{name.replace('-', '_')}_password")
        return given.get_secret_value() if given else None


class ProvisionSettings(StoreSettings, BusSettings):
    """A user without a password is not made; a MongoDB without access control needs none."""

    mongo_writer_password: SecretStr | None = None
    mongo_reader_password: SecretStr | None = None
    mongo_operator_password: SecretStr | None = None

    @property
    def passwords(self) -> dict[str, str]:
        given = {
            "writer": self.mongo_writer_password,
            "reader": self.mongo_reader_password,
            "operator": self.mongo_operator_password,
        }
        return {user: password.get_secret_value() for user, password in given.items() if password}
