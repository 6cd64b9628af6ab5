"""The variables of the process, and those of `.env` that the process does not have."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from crypto_updates.service import lookalike
from crypto_updates.service.envfile import EnvFile

DOTENV = Path(".env")
# Most programs read these in small letters as well, and those first: https://curl.se/docs/manpage.html#ENVIRONMENT
SMALL = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")


class Environment(NamedTuple):
    """`problems`: a line for each part of `.env` that cannot be used. `warnings`: what is probably a mistake."""

    values: Mapping[str, str]
    problems: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


def read() -> Environment:
    process = unquoted(os.environ)
    file = EnvFile(DOTENV, process)
    near = [
        *lookalike.warnings(file.values, lookalike.FILE_CUTOFF),
        *lookalike.warnings(process.keys() - file.values.keys(), lookalike.PROCESS_CUTOFF),
    ]
    return Environment(_capital(file.values) | process, tuple(file.problems), (*file.warnings, *near))


def unquoted(env: Mapping[str, str]) -> dict[str, str]:
    """Take the quotes off each value that is wholly in quotes, because `docker run --env-file` keeps those of a `.env`.

    The contents of a NAME_FILE keep theirs, and so does a value of `.env` that has other quotes within its own.
    """
    return _capital({name: value[1:-1] if _is_quoted(value) else value for name, value in env.items()})


def _capital(env: Mapping[str, str]) -> dict[str, str]:
    return {**env, **{name.upper(): env[name] for name in SMALL if env.get(name)}}


def _is_quoted(value: str) -> bool:
    return len(value) > 1 and value[0] == value[-1] and value[0] in "'\""
