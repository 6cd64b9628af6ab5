"""Files that hold secrets: written whole or not at all, and readable by their owner and one group."""

import os
import secrets
from pathlib import Path

import bcrypt

from stack.setup.errors import SetupError

# The cost that `nats server passwd` uses: https://github.com/nats-io/natscli
BCRYPT_COST = 11
READABLE = 0o440


def secret(path: Path, own: str | None = None) -> str:
    """The user's own secret, or else the one kept in the file, or else a new one of 256 bits. Raises SetupError."""
    value = own or _text(path) or secrets.token_hex(32)
    put(path, value)
    return value


def bcrypted(path: Path, password: str) -> str:
    """The password's bcrypt hash, the same one as long as the password is the same. Raises SetupError."""
    kept = _text(path)
    if not kept or not bcrypt.checkpw(password.encode(), kept.encode()):
        # nats-server knows a hash by the prefix $2a$; the default here, $2b$, is the same algorithm.
        kept = bcrypt.hashpw(password.encode(), bcrypt.gensalt(BCRYPT_COST, b"2a")).decode()
        put(path, kept)
    return kept


def put(path: Path, text: str, group: int = -1) -> None:
    """Write the text to the file; a process killed meanwhile leaves the old text or the new. Raises SetupError."""
    if _text(path) == text:
        return
    fresh = path.with_name(f".{path.name}.new")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)  # in Compose it is there: a volume
        fresh.unlink(missing_ok=True)
        with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, READABLE), "w", encoding="utf-8") as file:
            os.fchown(file.fileno(), -1, group)
            os.fchmod(file.fileno(), READABLE)
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(path)
    except OSError as error:
        raise SetupError(f"{path}: {error}") from error


def _text(path: Path) -> str:
    """What the file holds; nothing where there is none. Raises SetupError."""
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return ""
    except (OSError, ValueError) as error:
        raise SetupError(f"{path}: {error}") from error
