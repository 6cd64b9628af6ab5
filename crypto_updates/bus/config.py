import re
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, FilePath, SecretStr, TypeAdapter, ValidationError, ValidationInfo

from crypto_updates.bus.login import Login, credentials, login
from crypto_updates.service import trust
from crypto_updates.service.config import ServiceSettings, Words, redacted


def _nats_url(url: str) -> str:
    try:
        part = urlsplit(url.rstrip("/"))
        # A `#` or `?` in a password must be percent-encoded, because it ends the host.
        rest = part.path or re.search("[#?]", url)
        good = part.scheme in {"nats", "tls"} and part.hostname and part.port != 0 and not rest
        login(url, None, None, None)
    except ValueError:
        good = False
    if not good:
        raise ValueError  # without its cause, which may show a part of a password
    return part.geturl() if part.port else f"{part.geturl()}:4222"


def _creds(path: Path) -> Path:
    try:
        credentials(path)
    except OSError as error:
        raise ValueError(error.strerror) from error
    return path


def _ca(path: Path | None, info: ValidationInfo) -> Path | None:
    if path or any(url.startswith("tls://") for url in info.data.get("nats_url", ())):
        trust.context(path)
    return path


# nats-server reads no line of a client that is longer than 4096 bytes.
Subject = Annotated[str, Field(pattern=r"^[^\s.*>]+(\.[^\s.*>]+)*$", max_length=1000)]
_SUBJECT = TypeAdapter[str](Subject)


def subject(text: str) -> str:
    """A subject to publish on. Raises ValueError, which names what is accepted."""
    try:
        return _SUBJECT.validate_python(text)
    except ValidationError as error:
        raise ValueError(f"{text!r}: accepted: a subject without wildcards") from error


class BusSettings(ServiceSettings):
    nats_url: Annotated[Words, AfterValidator(lambda urls: tuple(map(_nats_url, urls)))] = Field(
        ("nats://localhost:4222",),
        repr=False,
        description="nats://host:4222 or tls://host:4222, several separated by commas",
    )
    nats_user: str | None = None
    nats_password: SecretStr | None = None
    nats_token: SecretStr | None = None
    nats_creds: Annotated[FilePath, AfterValidator(_creds)] | None = Field(
        None, description="the path of a .creds file"
    )
    nats_ca: Annotated[FilePath | None, AfterValidator(_ca)] = Field(
        None, validate_default=True, description="the path of a PEM file"
    )
    nats_inbox_prefix: Subject = Field("_INBOX", description="a subject without wildcards, for example _INBOX_worker")
    nats_api_prefix: Subject = Field("$JS.API", description="a subject without wildcards, for example STORE.API")
    delivery: Literal["auto", "jetstream", "core"] = Field("auto", description="auto, jetstream or core")
    stream_replicas: int = Field(1, ge=1, le=5, description="a whole number from 1 to 5")

    @property
    def servers(self) -> str:
        """NATS_URL without passwords, for a log."""
        return ", ".join(map(redacted, self.nats_url))

    def login(self, url: str) -> Login:
        """How to log in at this one of the servers."""
        password, token = (
            secret.get_secret_value() if secret else None for secret in (self.nats_password, self.nats_token)
        )
        return login(url, self.nats_user, password, token)
