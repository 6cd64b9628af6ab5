"""The harness over HTTP: its variables, what it publishes and sees, its worker's clock, and a new beginning."""

import asyncio
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, AsyncExitStack
from typing import Annotated

import msgspec
from fastapi import APIRouter, Query, Request, Response

from crypto_updates.bus import connection
from crypto_updates.bus.config import Subject
from crypto_updates.bus.event import SUBJECT
from crypto_updates.harness.control import faults, market, schema, server, targets
from crypto_updates.harness.control.schema import Clock, Message, Receipt, Wanted
from crypto_updates.harness.control.wait import look, until
from crypto_updates.harness.control.worker import Worker
from crypto_updates.harness.crypto import Crypto
from crypto_updates.harness.env import LOOPBACK
from crypto_updates.harness.publisher import Published
from crypto_updates.service import problem

# What a key of an event cannot be called here, because `Crypto.publish` has parameters of these names.
_PARAMETERS = {"self", "slot", "body", "copies", "msg_id", "headers", "subject"}


def serve(
    crypto: Crypto, tell: Callable[[str], object], port: int, host: str = LOOPBACK
) -> AbstractContextManager[str]:
    """Open the control port, and give its URL. `tell` gets a line for each fault. Raises PortTakenError."""
    found = targets.of(crypto, tell)
    routers = (
        observed(crypto, host),
        caused(crypto, found.values()),
        market.router(crypto.market),
        faults.router(found),
    )
    return server.serve("Crypto Updates: a harness", *routers, port=port, host=host)


def observed(crypto: Crypto, host: str) -> APIRouter:
    made = APIRouter(tags=["what is there"])

    @made.get("/env")
    def env(request: Request) -> dict[str, str]:
        """The variables by which a server finds NATS, MongoDB and the market, and the port that it may listen on.

        The host in them is the one by which you ask, if the harness listens for other machines, too.
        """
        return crypto.env() if host == LOOPBACK else crypto.env(request.url.hostname or host)

    @made.get("/subscribers", response_model=list[schema.Subscription], responses=problem.documented(422))
    def subscribers(subject: Annotated[Subject, Query()] = SUBJECT) -> Response:
        """Who hears a message on the subject; nobody while NATS does not answer."""
        return _answer(crypto.subscribers(subject))

    @made.get("/published", response_model=list[schema.Published])
    def published() -> Response:
        """The messages that passed on NATS since the last reset, copies included, oldest first.

        They are those on crypto.updates, and on a subject that was published on or waited for here, from then on.
        """
        return _answer(crypto.published[:])

    @made.get("/reactions", response_model=list[schema.Reaction])
    def reactions() -> Response:
        """The writes to MongoDB since the last reset, oldest first."""
        return _answer(crypto.reactions[:])

    @made.post("/wait", response_model=schema.Seen, responses=problem.documented(400, 409, 422))
    async def wait(wanted: Wanted) -> Response:
        """Answer with what there is when there is as much as wanted, or with 409 when the time is over."""
        return _answer(await until(wanted, await asyncio.to_thread(look, crypto, wanted)))

    return made


def caused(crypto: Crypto, broken: Iterable[faults.Target]) -> APIRouter:
    made = APIRouter(tags=["what happens"])
    worker = Worker(crypto)

    @made.post("/events", response_model=Receipt, responses=problem.documented(400, 422, 503))
    def events(message: Message) -> Response:
        """Publish an event, or any other body, at once. The answer comes when NATS has it."""
        return _answer(_publish(crypto, message))

    @made.post("/clock", status_code=204, responses=problem.documented(400, 422, 503))
    def clock(clock: Clock) -> None:
        """Run the real worker of Crypto Updates with a schedule, and with a clock of its own if you wish.

        A clock 900 times as fast as the real one makes a quarter of an hour take a second. It replaces the worker
        before. With `schedule` null there is no worker.
        """
        worker.run(clock)

    @made.post("/reset", status_code=204, responses=problem.documented(503))
    async def reset() -> None:
        """Begin anew: mend the servers and links, stop the worker, empty databases and stream, forget what was seen.

        A fault that has seconds left ends first.
        """
        async with AsyncExitStack() as turns:
            for target in broken:
                await turns.enter_async_context(target.turn())
            await asyncio.to_thread(worker.stop)
            await asyncio.to_thread(crypto.reset)

    return made


def _publish(crypto: Crypto, message: Message) -> connection.Receipt:
    """Raises FaultyError, and StackError if NATS does not answer."""
    given = [name for name in ("body", "base64", "invalid") if getattr(message, name) is not None]
    given += ["fields"] if message.fields else []
    if len(given) > 1:
        raise problem.FaultyError(422, given[1], str(getattr(message, given[1])), f"nothing beside {given[0]}")
    if taken := message.fields.keys() & _PARAMETERS:
        raise problem.FaultyError(422, "fields", ", ".join(taken), "other names; or else the whole body as `body`")
    return crypto.publish(
        message.slot,
        _body(message),
        copies=message.copies,
        msg_id=message.msg_id,
        headers=message.headers,
        subject=message.subject,
        **message.fields,
    )


def _body(message: Message) -> bytes | None:
    """None for an event."""
    if message.invalid is not None:
        return Crypto.invalid[message.invalid]
    if message.body is not None:
        return message.body.encode() if isinstance(message.body, str) else msgspec.json.encode(message.body)
    return message.base64


def _answer(found: object) -> Response:
    content = msgspec.json.encode(_named(found), enc_hook=_plain)
    return Response(content, media_type="application/json")


def _named(value: object) -> object:
    """Named tuples as objects, and bodies as texts."""
    if isinstance(value, list):
        return [_named(item) for item in value]
    if isinstance(value, Published):
        return value._asdict() | {"body": value.body.decode(errors="replace")}
    if hasattr(value, "_asdict"):
        return {name: _named(field) for name, field in value._asdict().items()}
    return value


def _plain(value: object) -> object:
    """A value of MongoDB's types as JSON has it."""
    return int(value) if isinstance(value, int) else str(value)
