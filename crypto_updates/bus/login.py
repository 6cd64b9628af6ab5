"""What a NATS server is told of who connects."""

from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

from crypto_updates.service import envfile

PARTS = ("BEGIN NATS USER JWT", "BEGIN USER NKEY SEED")


class Login(NamedTuple):
    """The server's URL without user and password, and what is sent to it in clear."""

    url: str
    user: str | None
    password: str | None
    token: str | None


def login(url: str, user: str | None, password: str | None, token: str | None) -> Login:
    """Add what the URL says to what is given otherwise, which comes first. A lone name in a URL is a token.

    nats-py would send what is in the URL without decoding it. Raises ValueError if it is not UTF-8.
    """
    part = urlsplit(url)
    bare = part._replace(netloc=part.netloc.rpartition("@")[2]).geturl()
    name, word = (text and unquote(text, errors="strict") for text in (part.username, part.password))
    if token or (user and password) or not name:
        return Login(bare, user, password, token)
    if word is None and password is None:
        return Login(bare, None, None, name)
    return Login(bare, name, password if word is None else word, None)


def credentials(path: Path) -> str:
    """Return the text of a .creds file. Raises OSError, and ValueError if it is not one.

    nats-py would look for the user's JWT for ever where there is none, and would keep the carriage return of a line.
    """
    text = "\n".join(envfile.text(path).splitlines())
    if missing := [part for part in PARTS if part not in text]:
        raise ValueError(f"no line with {missing[0]} is in it")
    return f"{text}\n"
