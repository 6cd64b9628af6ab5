"""A stream as one piece, moved from one server to another by JetStream's own backup and restore.

Sequences, headers and times stay the same, and so does what each consumer has acknowledged.
"""

import asyncio
import json
from typing import Any

from nats.aio.msg import Msg
from nats.js.api import StreamInfo
from nats.js.errors import APIError, NotFoundError

from crypto_updates.bus.connection import REPLY_SECONDS, Connection
from crypto_updates.bus.errors import JetStreamUnavailableError, RefusedError
from crypto_updates.bus.event import SUBJECT

# The server gives up a backup or a restore that stands still for 5 seconds.
CHUNK_SECONDS = 5.0
# After the last chunk the server reads the whole stream.
RESTORE_SECONDS = 120.0
LOOK_AGAIN_SECONDS = 0.2
# A stream with this limit refuses every event, so none is acknowledged that the copy lacks.
CLOSED_BYTES, OPEN_BYTES = 1, -1


async def move(source: Connection, target: Connection, stream: str, replicas: int) -> int | None:
    """Return how many messages the stream has; None if the source has no such stream. It is then only at the target.

    With several copies it is closed: `update_stream` opens it. A move that was stopped anywhere can be made again.
    Raises RefusedError when the target has another stream of that name, or does not get all of it; BusError, or one of
    LINK_ERRORS.
    """
    kept = await _info(source, stream)
    if kept is None:
        return None
    closed = kept.config.evolve(max_msg_size=CLOSED_BYTES)
    await source.ask(source.jetstream().update_stream(closed), [f"STREAM.UPDATE.{stream}"])
    if await _info(target, stream) is None:
        await _copy(source, target, stream)
    elif not await _has_last(source, target, stream):
        raise RefusedError(f"{target.url} has another stream {stream}: remove one of the two")
    if replicas > 1:
        await _spread(target, stream, replicas)
    await source.ask(source.jetstream().delete_stream(stream), [f"STREAM.DELETE.{stream}"])
    return kept.state.messages


async def _info(connection: Connection, stream: str) -> StreamInfo | None:
    async def asking() -> StreamInfo | None:
        try:
            return await connection.jetstream().stream_info(stream)
        except NotFoundError:
            return None

    return await connection.ask(asking(), [f"STREAM.INFO.{stream}"])


async def _has_last(source: Connection, target: Connection, stream: str) -> bool:
    """True if the target has the source's newest event, which an earlier move has then brought."""

    async def comparing() -> bool:
        try:
            last = await source.jetstream().get_last_msg(stream, SUBJECT)
        except NotFoundError:
            return True
        try:
            same = await target.jetstream().get_msg(stream, last.seq)
        except NotFoundError:
            return False
        return (same.data, same.headers, same.time) == (last.data, last.headers, last.time)

    return await target.ask(comparing(), [f"STREAM.MSG.GET.{stream}"])


async def _spread(target: Connection, stream: str, replicas: int) -> None:
    """Have the copies made, and let a server lead that has made one.

    The server of the restore does not know the ids of the messages, by which a second copy is dropped. (nats-server
    2.15.1; it learns them when it restarts.)
    """
    kept = await _until_complete(target, stream, 1)
    spread = kept.config.evolve(num_replicas=replicas, max_msg_size=CLOSED_BYTES)
    await target.ask(target.jetstream().update_stream(spread), [f"STREAM.UPDATE.{stream}"])
    complete = await _until_complete(target, stream, replicas)
    await _ask(target, f"STREAM.LEADER.STEPDOWN.{stream}", {})
    await _until_complete(target, stream, replicas, other_than=_leader(complete))


async def _until_complete(target: Connection, stream: str, replicas: int, other_than: str | None = None) -> StreamInfo:
    """The stream, when so many copies at least are complete, under another leader than this one."""
    while True:
        try:
            found = await _info(target, stream)
        except JetStreamUnavailableError:  # there is no leader at the moment
            found = None
        if found and _leader(found) not in (None, other_than) and _copies(found) >= replicas:
            return found
        await asyncio.sleep(LOOK_AGAIN_SECONDS)


def _leader(found: StreamInfo) -> str | None:
    return found.cluster.leader if found.cluster else None


def _copies(found: StreamInfo) -> int:
    others = (found.cluster and found.cluster.replicas) or ()
    return 1 + sum(bool(peer.current) for peer in others)


async def _copy(source: Connection, target: Connection, stream: str) -> None:
    inbox = source.nc.new_inbox()
    chunks = await source.nc.subscribe(inbox)
    taken = await _ask(source, f"STREAM.SNAPSHOT.{stream}", {"deliver_subject": inbox})
    config = taken["config"] | {"num_replicas": 1, "max_msg_size": OPEN_BYTES}
    opened = await _ask(target, f"STREAM.RESTORE.{stream}", {"config": config, "state": taken["state"]})
    while (chunk := await source.unless_lost(chunks.next_msg(CHUNK_SECONDS))).data:
        await target.unless_lost(target.nc.request(opened["deliver_subject"], chunk.data, timeout=CHUNK_SECONDS))
        if chunk.reply:
            await chunk.respond(b"")
    status = chunk.header or {}
    if status.get("Status", "204") != "204":
        raise RefusedError(f"the backup of stream {stream} ended early: {status['Status']} {status['Description']}")
    given = await _finish(target, opened["deliver_subject"])
    for figure in ("messages", "first_seq", "last_seq"):
        if given["state"][figure] != taken["state"][figure]:
            was, now = taken["state"][figure], given["state"][figure]
            raise RefusedError(f"stream {stream}: {figure} is {now} after the move and was {was}")


async def _ask(connection: Connection, request: str, body: dict[str, Any]) -> dict[str, Any]:
    async def asking() -> dict[str, Any]:
        payload = json.dumps(body).encode()
        return _answer(await connection.nc.request(connection.api(request), payload, timeout=REPLY_SECONDS))

    return await connection.ask(asking(), [request])


async def _finish(target: Connection, subject: str) -> dict[str, Any]:
    async def asking() -> dict[str, Any]:
        return _answer(await target.nc.request(subject, b"", timeout=RESTORE_SECONDS))

    return await target.ask(asking(), [])


def _answer(message: Msg) -> dict[str, Any]:
    """Raises APIError."""
    answer: dict[str, Any] = json.loads(message.data)
    if "error" in answer:
        raise APIError.from_error(answer["error"])
    return answer
