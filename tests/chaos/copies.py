"""What each nats-server of a cluster has of the stream, and whether it is what was acknowledged."""

import asyncio
import json
import time
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from nats.aio.client import Client
from nats.js import JetStreamContext
from nats.js.errors import NotFoundError

from crypto_updates.bus.event import MSG_ID
from crypto_updates.bus.stream import STREAM, stream_config
from crypto_updates.local.servers import NatsServer
from tests.chaos import client
from tests.chaos.checker import Document, Violation, check, read
from tests.chaos.history import Operation
from tests.support import eventually

# Seconds for a cluster to make a stream, or another server its leader; between two looks.
LEAD, LOOK = 60.0, 0.2
# Requests on their way at once.
AT_ONCE = 100


class Message(NamedTuple):
    seq: int
    id: str
    body: bytes


def make_stream(servers: Sequence[NatsServer]) -> bool:
    """With a copy at each server; False while the cluster has no leader."""

    async def make(js: JetStreamContext) -> bool:
        return bool(await js.add_stream(stream_config(len(servers))))

    return bool(client.ask([server.url for server in servers], make))


def read_all(servers: Sequence[NatsServer]) -> dict[str, list[Message]]:
    """By the server's name. Only the leader says what it has, so each becomes it in turn. Raises TimeoutError."""
    return {server.id: _copy(server) for server in servers}


def judge(operations: Sequence[Operation], copies: Mapping[str, Sequence[Message]]) -> list[Violation]:
    """All that is wrong with the copies; `copies` is the invariant that they are the same."""
    (first, copy), *others = copies.items()
    found = [
        Violation("copies", name, f"{len(other)} events, which are not the {len(copy)} of {first}")
        for name, other in others
        if other != copy
    ]
    malformed = {operation.id for operation in operations if not operation.valid}
    events = [_document(message) for message in copy if message.id not in malformed]
    letters = [_letter(message) for message in copy if message.id in malformed]
    return found + check(operations, events, letters)


def _document(message: Message) -> Document:
    return {"_id": message.id, **read(message.body), "stream_seq": message.seq}


def _letter(message: Message) -> Document:
    own = {"_id": message.id, "raw": message.body, "headers": {MSG_ID: message.id}, "reason": "malformed"}
    return own | {"stream_seq": message.seq}


def _copy(server: NatsServer) -> list[Message]:
    if (found := eventually(lambda: asyncio.run(_read(server)), LEAD)) is None:
        raise TimeoutError(f"{server.id} did not lead {STREAM} for long enough to be read")
    (copy,) = found  # which may be empty
    return copy


async def _read(server: NatsServer) -> tuple[list[Message]] | None:
    """The messages; None if it did not lead from the beginning to the end, as after an election on a busy machine."""
    try:
        nc = await client.connect(server.url)
        try:
            js = nc.jetstream(timeout=10)
            await _lead(nc, js, server.id)
            found = await _messages(js)
            return (found,) if await client.leader(js) == server.id else None
        finally:
            await client.close(nc)
    except client.LINK_ERRORS:
        return None


async def _messages(js: JetStreamContext) -> list[Message]:
    state = (await js.stream_info(STREAM)).state
    found: list[Message | None] = []
    for first in range(max(1, state.first_seq), state.last_seq + 1, AT_ONCE):
        seqs = range(first, min(first + AT_ONCE, state.last_seq + 1))
        found += await asyncio.gather(*(_message(js, seq) for seq in seqs))
    return [message for message in found if message]


async def _lead(nc: Client, js: JetStreamContext, name: str) -> None:
    """Have this server lead the stream. Raises TimeoutError."""
    deadline = time.monotonic() + LEAD
    while time.monotonic() < deadline:
        try:
            if await client.leader(js) == name:
                return
            wish = json.dumps({"placement": {"preferred": name}}).encode()
            await nc.request(f"$JS.API.STREAM.LEADER.STEPDOWN.{STREAM}", wish, timeout=5)
        except client.LINK_ERRORS:  # there is no leader at the moment
            pass
        await asyncio.sleep(LOOK)
    raise TimeoutError(f"{name} did not become the leader of {STREAM} within {LEAD:.0f} s")


async def _message(js: JetStreamContext, seq: int) -> Message | None:
    """None for a message that was removed."""
    try:
        message = await js.get_msg(STREAM, seq)
    except NotFoundError:
        return None
    return Message(seq, (message.headers or {}).get(MSG_ID, ""), message.data or b"")
