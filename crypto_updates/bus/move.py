"""A stream as one piece, moved from one server to another by JetStream's own backup and restore.

Sequences, headers and times stay the same, and each consumer goes on where it was.
"""

import asyncio
import contextlib
import json
import os
import time
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

import nats.errors
from nats.js.errors import APIError, NotFoundError

from crypto_updates.bus.connection import LINK_ERRORS, REPLY_SECONDS, Connection
from crypto_updates.bus.errors import BusError, JetStreamUnavailableError, RefusedError

# The server gives up a backup, and a restore, that stands still for 5 seconds.
CHUNK_SECONDS = 5.0
# It stores the events of a chunk before it answers. Well compressed, the usual 128 kB hold many MB of events, which a
# busy machine may not store in 5 seconds. The server compresses 1 MB at a time, so smaller chunks would rarely help.
CHUNK_BYTES = 32_768
# After the last chunk the server reads the whole stream.
RESTORE_SECONDS = 120.0
COPIES_SECONDS = 240.0
# A cluster makes the consumers after the stream, and takes 4 seconds to tell that one has no leader.
AGREE_SECONDS = 10.0
LOOK_AGAIN_SECONDS = 0.2
# When a server of a cluster gives up a restore, the cluster removes the stream of that name, also one of a later
# restore, if it is younger than 5 seconds. (nats-server 2.15.1)
STALLED_SECONDS = 8.0  # a busy machine is late
# A stream with these limits refuses every event, so none is acknowledged that the copy lacks; and none leaves by its
# age, so that the two can be compared.
CLOSED = {"max_msg_size": 1, "max_age": 0}
# A copy bears this mark, with the time at which its original was made, until `update_stream` opens it. So it holds
# nothing that the original lacks. No two are marked as copies of each other, because a cluster gives a restored stream
# a new time, and only a single server keeps the original's.
MARK = "crypto-updates.copy-of"
# A server whose restored stream is removed within a second assigns its consumers until the cluster knows them. So those
# of the next stream of the name may start anew, but not those of the one after. (nats-server 2.15.1)
COPIES = 2
FIGURES = ("messages", "last_seq", "consumer_count")
# A restore gives a stream without any event another first one.
FIGURES_OF_EVENTS = ("first_seq", "first_ts", "num_deleted")
FLOOR = "ack_floor of "

Answer = dict[str, Any]


async def move(source: Connection, target: Connection, stream: str, replicas: int) -> int | None:
    """Return how many messages the stream has; None if the source has no such stream. It is then only at the target.

    There it takes no event until `update_stream` opens it. A move that was stopped anywhere can be made again, or the
    other way. Raises RefusedError when the target has another stream of that name, or does not get all of it; BusError,
    or one of LINK_ERRORS.
    """
    kept, there = await info(source, stream), await info(target, stream)
    if kept and not (there and _is_copy(kept, there)):
        await _make(source, target, kept, there, replicas)
    if kept:
        await _ask(source, f"STREAM.DELETE.{stream}")
    found = kept and await info(target, stream)
    return int(found["state"]["messages"]) if found else None


async def _make(source: Connection, target: Connection, kept: Answer, there: Answer | None, replicas: int) -> None:
    stream = kept["config"]["name"]
    if there and there["state"]["last_seq"] and not _is_copy(there, kept):
        raise RefusedError(
            f"{target.url} has another stream {stream} than {source.url}; nothing was removed: have what one of the two"
            " holds stored by an API stub, and remove that one"
        )
    try:
        await _ask(source, f"STREAM.UPDATE.{stream}", kept["config"] | CLOSED)
        await _copy_whole(source, target, kept, replicas)
    except BaseException:
        with contextlib.suppress(*LINK_ERRORS, BusError):
            await _ask_for(target, f"STREAM.DELETE.{stream}")
        # After the copy has gone, because it would lack what the stream takes from now on.
        with contextlib.suppress(*LINK_ERRORS, BusError):
            await _ask(source, f"STREAM.UPDATE.{stream}", kept["config"])
        raise


def _is_copy(found: Answer, original: Answer) -> bool:
    return bool((found["config"].get("metadata") or {}).get(MARK) == original["created"])


async def info(connection: Connection, stream: str) -> Answer | None:
    """What the server tells of the stream; None if there is no such stream. Raises BusError, or one of LINK_ERRORS."""
    return await _ask_for(connection, f"STREAM.INFO.{stream}")


async def _difference(source: Connection, target: Connection, stream: str) -> list[str]:
    """What the target lacks, once they have had time to agree."""
    deadline = time.monotonic() + AGREE_SECONDS
    while True:
        ours, theirs = await _figures(source, stream), await _figures(target, stream)
        different = [name for name in ours if _differs(name, ours, theirs)]
        if not different or time.monotonic() > deadline:
            return [f"{name} is {theirs.get(name)} and not {ours[name]}" for name in different]
        await asyncio.sleep(LOOK_AGAIN_SECONDS)


def _differs(name: str, ours: Answer, theirs: Answer) -> bool:
    """A consumer may be ahead: its clients go on as soon as they have the copy."""
    here, there = ours[name], theirs.get(name)
    is_ahead = name.startswith(FLOOR) and None not in (here, there) and there > here
    return there != here and not is_ahead


async def _figures(connection: Connection, stream: str) -> Answer:
    state = (await info(connection, stream) or {}).get("state", {})
    # The state's own time of the last message is another one after a restore when that message has been removed.
    newest = await _ask_for(connection, f"STREAM.MSG.GET.{stream}", {"last_by_subj": ">"})
    names = FIGURES + (FIGURES_OF_EVENTS if newest else ())
    figures = {name: state.get(name, 0) for name in names} | {"the newest": newest and newest["message"]["time"]}
    listed = await _ask_for(connection, f"CONSUMER.LIST.{stream}") or {}
    floors = {FLOOR + one["name"]: one["ack_floor"]["stream_seq"] for one in listed.get("consumers", ())}
    return figures | floors | {FLOOR + name: None for name in listed.get("missing") or ()}  # may be listed, with 0


async def _copy_whole(source: Connection, target: Connection, kept: Answer, replicas: int) -> None:
    """Return when the target has all of the stream, and goes on having it. Raises RefusedError."""
    stream, different = kept["config"]["name"], list[str]()
    for _ in range(COPIES):
        await _remove(target, stream)  # in a cluster, a restore that was stopped keeps the name
        await _copy(source, target, kept)
        if replicas > 1:
            await _spread(target, stream, replicas)
        await asyncio.to_thread(os.sync)  # the server does not sync what it restores
        if found := await info(target, stream):
            await asyncio.sleep(STALLED_SECONDS - _age(found).total_seconds())
        if not (different := await _difference(source, target, stream)):
            return
    raise RefusedError(
        f"stream {stream} at {target.url} is not what {source.url} has, which keeps it: {', '.join(different)}"
    )


def _age(found: Answer) -> timedelta:
    return datetime.fromisoformat(found["ts"]) - datetime.fromisoformat(found["created"])


async def _copy(source: Connection, target: Connection, kept: Answer) -> None:
    stream = kept["config"]["name"]
    inbox = source.nc.new_inbox()
    chunks = await source.nc.subscribe(inbox)
    taken = await _ask(source, f"STREAM.SNAPSHOT.{stream}", {"deliver_subject": inbox, "chunk_size": CHUNK_BYTES})
    mark = {"metadata": {MARK: kept["created"]}, "num_replicas": 1}
    config = taken["config"] | mark | _full(taken["state"]["messages"])
    opened = await _ask(target, f"STREAM.RESTORE.{stream}", {"config": config, "state": taken["state"]})
    while (chunk := await source.unless_lost(chunks.next_msg(CHUNK_SECONDS))).data:
        await target.unless_lost(target.nc.request(opened["deliver_subject"], chunk.data, timeout=CHUNK_SECONDS))
        if chunk.reply:
            await chunk.respond(b"")
    status = chunk.header or {}
    if status.get("Status", "204") != "204":
        raise RefusedError(f"the backup of stream {stream} ended early: {status['Status']} {status['Description']}")
    await _finish(target, opened["deliver_subject"])


def _full(messages: int) -> Mapping[str, int]:
    """Limits that close the stream. The server restores no message that is larger than the stream's limit."""
    return {"max_msgs": messages, "max_msg_size": -1} if messages else {}


async def _finish(target: Connection, subject: str) -> None:
    async def asking() -> None:
        try:
            await _request(target, subject, seconds=RESTORE_SECONDS)
        except nats.errors.TimeoutError as error:
            raise JetStreamUnavailableError(f"the restore was not ready after {RESTORE_SECONDS:.0f} s") from error

    await target.ask(asking(), [])


async def _spread(target: Connection, stream: str, replicas: int) -> None:
    """Have the copies made, and let a server lead that has made one.

    The server of the restore does not know the ids of the messages until it restarts. When it leads, the stream takes a
    second copy of an event, which MongoDB drops then. (nats-server 2.15.1)
    """
    try:
        async with asyncio.timeout(COPIES_SECONDS):
            restored = await _complete(target, stream, 1)
            await _ask(target, f"STREAM.UPDATE.{stream}", restored["config"] | {"num_replicas": replicas})
            while _leader(await _complete(target, stream, replicas)) == _leader(restored):
                with contextlib.suppress(JetStreamUnavailableError):
                    await _ask(target, f"STREAM.LEADER.STEPDOWN.{stream}")
                await asyncio.sleep(LOOK_AGAIN_SECONDS)
    except TimeoutError as error:
        raise JetStreamUnavailableError(
            f"stream {stream} has no {replicas} complete copies, under another leader, after {COPIES_SECONDS:.0f} s:"
            " verify that all servers of the cluster run"
        ) from error


async def _complete(target: Connection, stream: str, replicas: int) -> Answer:
    """The stream, when it has a leader and so many complete copies."""
    while True:
        with contextlib.suppress(JetStreamUnavailableError):  # there is no leader at the moment
            found = await info(target, stream)
            if found and _leader(found) and _copies(found) >= replicas:
                return found
        await asyncio.sleep(LOOK_AGAIN_SECONDS)


def _leader(found: Answer) -> str | None:
    leader: str | None = found.get("cluster", {}).get("leader")
    return leader


def _copies(found: Answer) -> int:
    return 1 + sum(bool(peer["current"]) for peer in found.get("cluster", {}).get("replicas") or ())


async def _remove(connection: Connection, stream: str) -> None:
    if await _ask_for(connection, f"STREAM.DELETE.{stream}"):
        await asyncio.sleep(STALLED_SECONDS)


async def _ask_for(connection: Connection, request: str, body: Mapping[str, Any] | None = None) -> Answer | None:
    """None if there is no such stream, or no message in it."""

    async def asking() -> Answer | None:
        try:
            return await _request(connection, connection.api(request), body)
        except NotFoundError:
            return None

    return await connection.ask(asking(), [request])


async def _ask(connection: Connection, request: str, body: Mapping[str, Any] | None = None) -> Answer:
    return await connection.ask(_request(connection, connection.api(request), body), [request])


async def _request(
    connection: Connection, subject: str, body: Mapping[str, Any] | None = None, seconds: float = REPLY_SECONDS
) -> Answer:
    """Raises APIError."""
    payload = json.dumps(body).encode() if body else b""
    answer: Answer = json.loads((await connection.nc.request(subject, payload, timeout=seconds)).data)
    if "error" in answer:
        raise APIError.from_error(answer["error"])
    return answer
