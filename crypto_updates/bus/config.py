from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, FilePath, SecretStr

from crypto_updates.service.config import ServiceSettings, Words, redacted


def _nats_url(url: str) -> str:
    try:
        part = urlsplit(url.rstrip("/"))
        good = part.scheme in {"nats", "tls"} and part.hostname and part.port != 0 and not part.path
    except ValueError:
        good = False
    if not good:
        raise ValueError  # without its cause, which may show a part of a password
    return part.geturl() if part.port else f"{part.geturl()}:4222"


Subject = Annotated[str, Field(pattern=r"^[^\s.*>]+(\.[^\s.*>]+)*$")]


class BusSettings(ServiceSettings):
    nats_url: Annotated[Words, AfterValidator(lambda urls: tuple(map(_nats_url, urls)))] = Field(
        ("nats://localhost:4222",),
        repr=False,
        description="nats://host:4222 or tls://host:4222, several separated by commas",
    )
    nats_user: str | None = None
    nats_password: SecretStr | None = None
    nats_token: SecretStr | None = None
    nats_creds: FilePath | None = Field(None, description="the path of a .creds file")
    nats_ca: FilePath | None = Field(None, description="the path of a PEM file")
    nats_inbox_prefix: Subject = Field("_INBOX", description="a subject without wildcards, for example _INBOX_worker")
    nats_api_prefix: Subject = Field("$JS.API", description="a subject without wildcards, for example STORE.API")
    delivery: Literal["auto", "jetstream", "core"] = Field("auto", description="auto, jetstream or core")
    stream_replicas: int = Field(1, ge=1, le=5, description="a whole number from 1 to 5")

    @property
    def servers(self) -> str:
        """NATS_URL without passwords, for a log."""
        return ", ".join(map(redacted, self.nats_url))
