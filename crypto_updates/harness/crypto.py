"""All that an API server needs to be tried: NATS, MongoDB, a market, and what happens to them; without pytest, too."""

import itertools
import os
import secrets
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path
from typing import Any, Self

from pymongo import MongoClient

from crypto_updates.bus.connection import Receipt
from crypto_updates.bus.event import SUBJECT
from crypto_updates.harness import env as names
from crypto_updates.harness import faketime, monitor
from crypto_updates.harness.app import App, Ready
from crypto_updates.harness.bodies import INVALID
from crypto_updates.harness.draft import Body, Drafts
from crypto_updates.harness.env import LOOPBACK, Place
from crypto_updates.harness.interception import Interception
from crypto_updates.harness.link import Link
from crypto_updates.harness.market import Market
from crypto_updates.harness.monitor import Subscription
from crypto_updates.harness.publisher import Published, Publisher
from crypto_updates.harness.reactions import Reactions
from crypto_updates.harness.seen import Seen
from crypto_updates.local import ports, programs
from crypto_updates.local.lines import Lines
from crypto_updates.local.process import Process
from crypto_updates.local.servers import Mongod, NatsServer

_MONGODBS_OWN = ("admin", "config", "local")


class Crypto:
    """A NATS server, a link to it, a link to the mongod, whose databases are emptied, and a market; in a `with`.

    `reactions`: the writes of the server under test. `published`: what passed on NATS, copies included. `folder` is
    where the workers run.
    """

    invalid = INVALID

    def __init__(self, mongod: Mongod, folder: Path, place: Place | None = None) -> None:
        self.mongo = mongod
        self.nats = NatsServer()
        self._place = place or Place()
        self.market = Market(port=self._place.market, host=self._place.host)
        self.link: Link
        self.mongo_link: Link
        self.reactions: Reactions
        self.database = f"crypto_{secrets.token_hex(4)}"
        self.apps: list[App] = []
        self._publisher: Publisher
        self._folder = folder
        self._ports = [ports.free()]  # the first one is that of the first server
        self._drafts = Drafts()
        self._numbers = itertools.count()

    def __enter__(self) -> Self:
        self.mongo.mend()
        self._wipe()
        with ExitStack() as closing:
            closing.enter_context(self.nats)
            place = self._place
            self.link = closing.enter_context(Link(self.nats.port, place.nats, place.host))
            self.mongo_link = closing.enter_context(Link(self.mongo.port, place.mongo, place.host))
            closing.enter_context(self.market)
            self._interception = closing.enter_context(Interception(self.market.port))
            self.reactions = closing.enter_context(Reactions(self.mongo.url))
            self._publisher = closing.enter_context(Publisher(self.nats.url))
            closing.callback(self._stop_apps)
            closing.callback(self._mend)
            self._closing = closing.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.close()
        for port in self._ports:
            ports.release(port)

    @property
    def published(self) -> Seen[Published]:
        return self._publisher.published

    def subscribers(self, subject: str = SUBJECT) -> list[Subscription]:
        """The subscriptions that a message on the subject reaches at this moment; none while NATS does not answer."""
        return monitor.subscriptions(self.nats, subject)

    def follow(self, subject: str) -> None:
        """See in `published` what passes on this subject, too. Raises StackError if NATS does not answer."""
        self._publisher.follow(subject)

    def env(self, host: str = LOOPBACK) -> dict[str, str]:
        """The variables by which a server finds NATS, MongoDB and the market, and the port on which it is to listen.

        `host`: this machine, as the server reaches it. One on another machine does not get the variables that lead
        its calls to api.coingecko.com to the market, because they name files of this one.
        """
        variables = self._variables(self._ports[0], host)
        return variables | (self._interception.env() if host == LOOPBACK else {})

    def app(
        self,
        *command: str,
        cwd: str | os.PathLike[str] | None = None,
        env: Mapping[str, str] | None = None,
        ready: Ready = None,
        subscribes: str | None = SUBJECT,
        within: float = 30.0,
    ) -> App:
        """Start the server under test, and return when it is ready and has subscribed.

        `ready`: a URL, a path, or a line of its output, as text or regular expression. `subscribes` None: do not wait
        until it has subscribed. Raises AppError, with its last lines, when it ends before, or after `within` seconds.
        """
        port = self._another_port() if self.apps else self._ports[0]
        environ = {**os.environ, **self._variables(port), **(env or {})}
        environ |= self._interception.env(environ)

        def spawn(lines: Lines) -> Process:
            return Process(command, env=environ, cwd=Path(cwd) if cwd else None, lines=lines)

        return self._start(spawn, f"http://127.0.0.1:{environ['PORT']}", ready, subscribes, within)

    def worker(
        self,
        schedule: str = "*/15 * * * *",
        clock: float | str | None = None,
        ready: Ready = "[NATS] Connected",
        **environ: str,
    ) -> App:
        """Start the real worker, which fetches from `market`.

        `clock`: how many times as fast as the real one its clock is (900: 15 minutes in a second), or a time as
        libfaketime reads it (`@2026-01-01 00:00:00 x900`). `environ`: more of its variables.
        """
        name = f"worker{next(self._numbers)}"
        own = self.market.env(name) | {
            "NATS_URL": self.nats.url,
            "SCHEDULE": schedule,
            "OUTBOX_DIR": f"outbox-{name}",
            "HEALTH_PORT": str(self._another_port()),
        }
        if clock is not None:
            # At such a pace, a moment's delay is an outage of some slots.
            own |= {"MISSED_SLOTS": "all"} | faketime.variables(clock if isinstance(clock, str) else f"+0 x{clock:g}")
        if trigger := environ.get("TRIGGER_SUBJECT"):
            self._publisher.follow(trigger)

        def spawn(lines: Lines) -> Process:
            return programs.start("worker", environ={**os.environ, **own, **environ}, cwd=self._folder, lines=lines)

        return self._start(spawn, f"http://127.0.0.1:{own['HEALTH_PORT']}", ready, None, 30.0)

    def publish(
        self,
        slot: datetime | str | None = None,
        body: Body | None = None,
        *,
        copies: int = 1,
        msg_id: str | None = None,
        headers: Mapping[str, str] | None = None,
        subject: str = SUBJECT,
        **fields: object,
    ) -> Receipt:
        """Publish an event, or this body, at once, and return when NATS has acknowledged it.

        `slot`: its time; without one, a whole second that no event has had yet. `fields`: more keys of the event.
        `msg_id`: its id, by which the stream knows a copy; without one, that of the slot; empty for none. A body of
        your own has an id only if you give it a slot or an id. Raises StackError if NATS does not answer, and
        ValueError for what cannot be published, such as a slot that is no ISO 8601 time with an offset.
        """
        if copies < 1:
            raise ValueError(f"copies: {copies}; accepted: 1 or more")
        draft = self._drafts.make(slot, body, msg_id, headers, fields)
        self._publisher.follow(subject)
        return self._publisher.publish(subject, draft.body, draft.headers, copies)

    def reset(self) -> None:
        """Put right what is broken, and empty all: databases, stream, `reactions`, `published`, the market's state."""
        self._mend()
        self.market.reset()
        self._wipe()
        self._publisher.renew()
        self.published.clear()
        self.reactions.clear()

    def _variables(self, port: int, host: str = LOOPBACK) -> dict[str, str]:
        place = Place(host, self.link.port, self.mongo_link.port, self.market.port)
        return names.variables(place, self.database, port)

    def _another_port(self) -> int:
        self._ports.append(ports.free())
        return self._ports[-1]

    def _start(
        self, spawn: Callable[[Lines], Process], url: str, ready: Ready, subscribes: str | None, within: float
    ) -> App:
        app = App(spawn, url=url, ready=ready, watch=lambda: self._watch(subscribes))
        self.apps.append(app)
        app.start(within)
        return app

    def _watch(self, subject: str | None) -> Callable[[], str | None]:
        """From before a server is started: what it lacks as a subscriber, until it has subscribed."""
        if subject is None:
            return lambda: None
        self._publisher.follow(subject)
        others, before = self.subscribers(subject), self._connections()

        def lacks() -> str | None:
            now, connected = self.subscribers(subject), self._connections() - before
            # Several servers may share a JetStream consumer, so that it may be among the others.
            if any(found not in others or (found.consumer and connected) for found in now):
                return None
            if not connected:
                return "has not connected to NATS (if its address is fixed: crypto.link.listen(4222), before the start)"
            subjects = sorted({found.subject for found in monitor.subscriptions(self.nats)})
            return f"has not subscribed to {subject}; the subscriptions are: {', '.join(subjects) or 'none'}"

        return lacks

    def _connections(self) -> set[int]:
        return {client.cid for client in monitor.clients(self.nats)}

    def _mend(self) -> None:
        for server in (self.nats, self.mongo):
            server.mend()
        for link in (self.link, self.mongo_link):
            link.heal()

    def _stop_apps(self) -> None:
        for app in reversed(self.apps):
            app.stop()

    def _wipe(self) -> None:
        with MongoClient[dict[str, Any]](self.mongo.url, directConnection=True) as client:
            for name in set(client.list_database_names()) - {*_MONGODBS_OWN}:
                client.drop_database(name)
