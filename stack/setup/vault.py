"""Files that hold secrets: written whole or not at all, and readable by their owner and one group."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

import bcrypt

from stack.setup.errors import CredentialError

# What nats-server itself takes (`nats server passwd`): https://github.com/nats-io/natscli
COST = 11
READABLE = 0o440


class Vault:
    """The folder where the secrets are kept from one start to the next."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def secret(self, name: str, own: str | None = None) -> str:
        """The user's own secret, or the one kept, or a new one of 256 bits. Raises CredentialError."""
        path = self._folder / name
        kept = path.read_text(encoding="utf-8") if path.exists() else ""
        value = own or kept or secrets.token_hex(32)
        put(path, value)
        return value

    def bcrypted(self, name: str, password: str) -> str:
        """The password's bcrypt hash, the same one as long as the password is. Raises CredentialError."""
        path = self._folder / f"{name}.bcrypt"
        kept = path.read_text(encoding="utf-8") if path.exists() else ""
        if not kept or not bcrypt.checkpw(password.encode(), kept.encode()):
            # The server knows the algorithm by the prefix of its own library; the two are the same.
            kept = bcrypt.hashpw(password.encode(), bcrypt.gensalt(COST, b"2a")).decode()
            put(path, kept)
        return kept


def put(path: Path, text: str, group: int = -1) -> None:
    """Have the file hold this text, whatever kills the process meanwhile. Raises CredentialError."""
    if path.exists() and path.read_text(encoding="utf-8") == text:
        return
    fresh = path.with_name(f".{path.name}.new")
    try:
        fresh.unlink(missing_ok=True)
        with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, READABLE), "w", encoding="utf-8") as file:
            os.fchown(file.fileno(), -1, group)
            os.fchmod(file.fileno(), READABLE)
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(path)
    except OSError as error:
        raise CredentialError(f"{path}: {error}") from error
