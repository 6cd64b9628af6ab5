"""The client of MongoDB: its address, its deadlines, and what its failures are called."""

import contextlib
import re
import time
from collections.abc import Iterator
from typing import Self

import pymongo
from pymongo import AsyncMongoClient
from pymongo.asynchronous.collection import AsyncCollection
from pymongo.errors import OperationFailure, PyMongoError
from pymongo.uri_parser import parse_uri

from api_stub import query
from api_stub.errors import StoreRefusedError, StoreUnavailableError
from crypto_updates.service import lifecycle, trust

Document = query.Document
Events = AsyncCollection[Document]

# For one operation. Shorter than the consumer's ack wait.
MONGO_SECONDS = 5.0
PING_SECONDS = 2.0
CLOSE_SECONDS = 1.0
UNAUTHORIZED, AUTHENTICATION_FAILED = 13, 18
REFUSALS = {UNAUTHORIZED, AUTHENTICATION_FAILED}
REFUSED_ADVICE = "verify the user in MONGO_URL; `crypto-updates provision` gives the stack's users their rights"


def direct(url: str) -> bool:
    """Whether to connect to the URL's host itself, whatever its replica set calls it.

    True for a single host without `replicaSet`, unless the URL sets `directConnection`. Raises ValueError.
    """
    if not url.startswith("mongodb://"):
        return False
    try:
        parsed = parse_uri(url)
    except (PyMongoError, OSError) as error:
        raise ValueError(str(error)) from error
    alone = len(parsed["nodelist"]) == 1 and "replicaSet" not in parsed["options"]
    return bool(parsed["options"].get("directConnection", alone))


def check(url: str) -> None:
    """Raises ValueError if the driver refuses the URL, an option in it, or a file that it names or OpenSSL reads."""
    direct(url)  # the client would only warn of an option
    if re.search(r"^mongodb\+srv:|[?&](tls|ssl)=true", url, re.IGNORECASE) and "tlscafile=" not in url.lower():
        trust.context()  # the driver's own has the certificates of SSL_CERT_FILE too, and says nothing of a bad file
    try:
        AsyncMongoClient[Document](url)  # connects when it is used
    except (PyMongoError, OSError) as error:
        raise ValueError(str(error)) from error


class Mongo:
    """A client of one database, to be used as a context. An operation may take `seconds`."""

    def __init__(self, url: str, database: str, seconds: float = MONGO_SECONDS) -> None:
        """In a running loop. Raises StoreUnavailableError."""
        with available():
            self._client = AsyncMongoClient[Document](
                url, tz_aware=True, timeoutMS=int(seconds * 1000), directConnection=direct(url)
            )
        self.database = self._client[database]

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        # The client ends its sessions first. For that it would wait half a minute if the server is down.
        with pymongo.timeout(lifecycle.left(CLOSE_SECONDS)):
            await self._client.close()

    async def ping(self) -> float:
        """The seconds of a round trip, 2 at most. Raises StoreUnavailableError."""
        begin = time.perf_counter()
        with available(), pymongo.timeout(PING_SECONDS):
            await self._client.admin.command("ping")
        return time.perf_counter() - begin

    async def takes_writes(self) -> bool:
        """Raises StoreUnavailableError."""
        with available():
            return bool((await self._client.admin.command("hello"))["isWritablePrimary"])


@contextlib.contextmanager
def available() -> Iterator[None]:
    """Raises StoreUnavailableError when MongoDB, or the way to it, fails; StoreRefusedError when the user may not;
    CancelledError also when the driver has forgotten it.
    """
    try:
        with lifecycle.remembering_stop():
            yield
    except PyMongoError as error:
        if isinstance(error, OperationFailure) and error.code in REFUSALS:
            raise StoreRefusedError(f"MongoDB refuses: {brief(error)} ({REFUSED_ADVICE})") from error
        raise StoreUnavailableError(f"MongoDB: {brief(error)}") from error


def brief(error: Exception) -> str:
    """The driver's message, without its description of the topology."""
    return re.split(r" \(configured timeouts|, Timeout: |, full error", str(error))[0]
