"""Passwords and certificates in files: the user's own in `secrets/`, and those that provision gets in Compose."""

import logging
import os
from collections.abc import Iterable
from difflib import get_close_matches
from pathlib import Path

from crypto_updates.service import envfile
from crypto_updates.service.config import ConfigError
from stack.setup.users import ROLES

log = logging.getLogger(__name__)

NATS_USERS = ("provision", "operator", "worker", "api_stub", "subscriber", "consumer")
MONGO_USERS = tuple(ROLES)
# By it the NATS servers of compose.cluster.yaml know each other.
ROUTE = "nats-route"
PASSWORDS = (*(f"nats-{user}" for user in NATS_USERS), ROUTE, *(f"mongo-{user}" for user in MONGO_USERS))
CERTIFICATES = ("ca.pem", "nats.pem", "mongo.pem")
PEM = "with TLS=on, a PEM file; a server's holds its certificate and its key"

# A shorter one can be guessed from outside: the servers do not slow a guesser down.
MIN_CHARACTERS = 16
# bcrypt takes no more.
MAX_BYTES = 72


def names_in(folder: Path) -> set[str]:
    """The names of the files in the folder; none, with a warning, when the folder cannot be read."""
    try:
        return {path.name for path in folder.iterdir()}
    except FileNotFoundError:
        return set()
    except OSError as error:
        log.warning("[CREDENTIALS] %s: %s; its files are not used (chmod 755 %s)", folder, error.strerror, folder)
        return set()


def warn_of_strangers(folder: Path, names: Iterable[str]) -> None:
    """Name the files that look like passwords for us, but that nobody reads."""
    for name in sorted(set(names) - {*PASSWORDS, *CERTIFICATES}):
        if name.lower().startswith(("nats", "mongo")) or get_close_matches(name.lower(), PASSWORDS, cutoff=0.65):
            accepted = ", ".join(PASSWORDS + CERTIFICATES)
            log.warning("[CREDENTIALS] %s is not used; accepted names: %s", folder / name, accepted)


def read(folder: Path, names: Iterable[str]) -> dict[str, str]:
    """The text of each file, by name. Raises ConfigError with a line for each file that cannot be used."""
    found, problems = dict[str, str](), list[str]()
    for name in names:
        try:
            found[name] = _text(folder / name, PEM) if name in CERTIFICATES else _password(folder / name)
        except ConfigError as error:
            problems.append(str(error))
    if problems:
        raise ConfigError("\n".join(problems))
    return found


def _password(path: Path) -> str:
    accepted = f"{MIN_CHARACTERS} or more printable characters, {MAX_BYTES} bytes at most"
    text = _text(path, accepted).strip()
    if len(text) < MIN_CHARACTERS or len(text.encode()) > MAX_BYTES or not text.isprintable():
        raise ConfigError(f"{path}: {len(text)} characters, {len(text.encode())} bytes; accepted: {accepted}")
    return text


def _text(path: Path, accepted: str) -> str:
    try:
        return envfile.text(path)
    except OSError as error:
        problem = error.strerror
    except ValueError as error:
        problem = str(error)
    raise ConfigError(
        f"{path}: {problem}; accepted: {accepted}, in a file that user {os.getuid()} can read (chmod 644)"
    )
