"""How a service is configured: from the environment, then `.env`; every bad value told at once."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from dotenv import dotenv_values
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, FilePath, SecretStr, ValidationError
from pydantic_core import ErrorDetails

from crypto_updates.bus.errors import BusError


class ConfigError(BusError):
    """The configuration has bad values."""


def redacted(url: str) -> str:
    """The URL, or list of them, without user and password, and be it one that is badly written."""
    return re.sub(r"(^|://)(?:(?!://).)*@", r"\1***@", url)


def _split(value: object) -> object:
    """A comma-separated list as a tuple, blanks dropped."""
    return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value


def _nats_urls(urls: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(map(_nats_url, urls))


def _nats_url(url: str) -> str:
    try:
        part = urlsplit(url.rstrip("/"))
        good = part.scheme in {"nats", "tls"} and part.hostname and part.port != 0 and not part.path
    except ValueError:
        good = False
    if not good:
        raise ValueError  # without the cause, which may show a piece of a password
    return part.geturl() if part.port else f"{part.geturl()}:4222"


def _subject(subject: str) -> str:
    if not re.fullmatch(r"[^\s.*>]+(\.[^\s.*>]+)*", subject):
        raise ValueError
    return subject


Subject = Annotated[str, AfterValidator(_subject)]
Words = Annotated[tuple[str, ...], BeforeValidator(_split), Field(min_length=1)]


class Settings(BaseModel):
    """What every service reads. The description of a field is the form that its error line names as accepted."""

    model_config = ConfigDict(frozen=True, hide_input_in_errors=True)

    nats_url: Annotated[Words, AfterValidator(_nats_urls)] = Field(
        ("nats://localhost:4222",),
        repr=False,
        description="nats://host:4222 or tls://host:4222, several separated by commas",
    )
    nats_user: str | None = None
    nats_password: SecretStr | None = None
    nats_token: SecretStr | None = None
    nats_creds: FilePath | None = Field(None, description="the path of a .creds file")
    nats_ca: FilePath | None = Field(None, description="the path of a PEM file")
    nats_inbox_prefix: Subject = Field("_INBOX", description="a subject without wildcards, _INBOX_worker for one")
    nats_api_prefix: Subject = Field("$JS.API", description="a subject without wildcards, STORE.API for one")
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="debug, info, warning or error")
    log_format: Literal["text", "json"] = Field("text", description="text or json")
    delivery: Literal["auto", "jetstream", "core"] = Field("auto", description="auto, jetstream or core")
    stream_replicas: int = Field(1, ge=1, le=5, description="a whole number from 1 to 5")

    @property
    def servers(self) -> str:
        """NATS_URL, fit for a log."""
        return ", ".join(map(redacted, self.nats_url))

    @classmethod
    def load(cls, env: Mapping[str, str | None] | None = None) -> Self:
        """Raise ConfigError with a line for each bad value: the variable, its value, what is accepted."""
        values, problems = _values(cls, {**dotenv_values(".env"), **os.environ} if env is None else env)
        try:
            settings = cls(**values)
        except ValidationError as error:
            raise ConfigError("\n".join([*problems, *(_line(cls, e) for e in error.errors())])) from error
        if problems:
            raise ConfigError("\n".join(problems))
        return settings


def _values(settings: type[Settings], env: Mapping[str, str | None]) -> tuple[dict[str, Any], list[str]]:
    """The variables that are set, `NAME_FILE` read in place of NAME, and a line for each that cannot be read.

    An empty variable is an absent one where nothing is the default.
    """
    values: dict[str, Any] = {}
    problems = []
    for field, info in settings.model_fields.items():
        name, path = field.upper(), env.get(f"{field.upper()}_FILE")
        if env.get(name) or (name in env and info.default is not None):
            values[field] = env[name]
        if path and env.get(name):
            problems.append(f"{name}: given twice; accepted: either {name} or {name}_FILE")
        elif path:
            try:
                values[field] = Path(path).read_text(encoding="utf-8").strip()
            except (OSError, ValueError) as error:
                problems.append(f"{name}_FILE={path}: {error}; accepted: the path of a readable UTF-8 file")
    return values, problems


def _line(settings: type[Settings], error: ErrorDetails) -> str:
    field = str(error["loc"][0])
    info = settings.model_fields[field]
    given = "***" if "SecretStr" in str(info.annotation) else redacted(str(error["input"]))
    cause = str(error.get("ctx", {}).get("error") or "")
    accepted = f"accepted: {info.description or error['msg']}"
    return f"{field.upper()}={given}: {f'{cause}; ' if cause else ''}{accepted}"
