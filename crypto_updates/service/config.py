"""Settings from the environment, then from `.env`. All bad values are reported together."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic_core import ErrorDetails

from crypto_updates.service import environment
from crypto_updates.service.envfile import text
from crypto_updates.service.environment import Environment
from crypto_updates.service.errors import CryptoUpdatesError


class ConfigError(CryptoUpdatesError):
    """The configuration has bad values."""


def redacted(url: str) -> str:
    """Return the URL, or the list of URLs, without login and secret options, even if it is badly written."""
    bare = re.sub(r"((?:^|,\s*)(?:[\w+.-]+://)?)(?:(?!,\s*[\w+.-]+://).)*@", r"\1***@", url, flags=re.DOTALL)
    return re.sub(r"(\w*(?:password|secret|token|api_?key)=)[^&\s]*", r"\1***", bare, flags=re.IGNORECASE)


def _split(value: object) -> object:
    """Split a comma-separated list; drop blanks."""
    return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value


Words = Annotated[tuple[str, ...], BeforeValidator(_split), Field(min_length=1)]


class ServiceSettings(BaseModel):
    """What every service reads. An error line names the description of a field as the accepted form."""

    model_config = ConfigDict(frozen=True, hide_input_in_errors=True)

    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="debug, info, warning or error")
    log_format: Literal["text", "json"] = Field("text", description="text or json")

    @classmethod
    def load(cls, env: Mapping[str, str] | None = None) -> Self:
        """From these variables; without any, from the environment. Raises ConfigError, as `of`."""
        return cls.of(environment.read() if env is None else Environment(environment.unquoted(env)))

    @classmethod
    def of(cls, env: Environment) -> Self:
        """Raises ConfigError with a line for each bad value: the variable, its value, and what is accepted."""
        values, problems = _values(cls, env.values)
        problems[:0] = env.problems
        try:
            settings = cls(**values)
        except ValidationError as error:
            problems += (_line(cls, each) for each in error.errors())
        if problems:
            raise ConfigError("\n".join(problems))
        return settings


def _values(settings: type[ServiceSettings], env: Mapping[str, str]) -> tuple[dict[str, Any], list[str]]:
    """Return the values of the variables that are set, and a line for each problem.

    `NAME_FILE` names a file with the value of NAME. If the default is None, an empty variable counts as absent.
    """
    values: dict[str, Any] = {}
    problems = []
    for field, info in settings.model_fields.items():
        name, path = field.upper(), env.get(f"{field.upper()}_FILE")
        if env.get(name) or (name in env and info.default is not None):
            values[field] = env[name]
        if _is_broken(env.get(name, "")):
            problems.append(f"{name}: not UTF-8; accepted: UTF-8")
            del values[field]
        if path and env.get(name):
            problems.append(f"{name}: given twice; accepted: either {name} or {name}_FILE")
        elif path:
            try:
                values[field] = text(Path(path)).strip()
            except (OSError, ValueError) as error:
                problems.append(f"{name}_FILE={path}: {error}; accepted: the path of a readable UTF-8 file")
    return values, problems


def _is_broken(value: str) -> bool:
    """True if the process's environment has bytes that are not UTF-8."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return True
    return False


def _line(settings: type[ServiceSettings], error: ErrorDetails) -> str:
    field = str(error["loc"][0])
    info = settings.model_fields[field]
    value = error["input"]
    given = "***" if "SecretStr" in str(info.annotation) else redacted("" if value is None else str(value))
    cause = str(error.get("ctx", {}).get("error") or "")
    accepted = f"accepted: {info.description or error['msg']}"
    return f"{field.upper()}={given}: {f'{cause}; ' if cause else ''}{accepted}"
