"""The parts of a demo that faults are done to: one fault after the other, told in the log and on the page."""

import contextlib
import json
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Self

from api_stub.http import note
from crypto_updates.harness.link import Link
from crypto_updates.local.servers import Mongod, NatsServer
from stack import console
from stack.faults.plan import Fault
from worker.market import outage


class _Market:
    """The market of a worker that knows of this file."""

    def __init__(self, outage: Path) -> None:
        self._outage = outage

    @contextlib.contextmanager
    def down(self) -> Iterator[None]:
        self._outage.touch()
        try:
            yield
        finally:
            self._outage.unlink()


class Stage:
    """The two servers of a demo, the links by which its services reach them, and its market."""

    def __init__(self, folder: Path, nats: NatsServer, mongo: Mongod) -> None:
        self._note = folder / "note.json"
        self._outage = folder / "market-outage"
        self._links = {"nats": Link(nats.port), "mongo": Link(mongo.port)}
        self._targets = {
            "nats": nats,
            "mongo": mongo,
            "link": self._links["nats"],
            "mongo_link": self._links["mongo"],
            "market": _Market(self._outage),
        }
        self._say = console.prefixed("fault")

    def __enter__(self) -> Self:
        # They are there when a demo with this folder was killed.
        for file in (self._note, self._outage):
            file.unlink(missing_ok=True)
        with ExitStack() as closing:
            for link in self._links.values():
                closing.enter_context(link)
            self._closing = closing.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.close()

    @property
    def environ(self) -> dict[str, str]:
        """The variables of the services: their servers, and the files by which they learn of a fault."""
        urls = {
            "NATS_URL": f"nats://127.0.0.1:{self._links['nats'].port}",
            "MONGO_URL": f"mongodb://127.0.0.1:{self._links['mongo'].port}",
        }
        return urls | {note.VARIABLE: str(self._note), outage.VARIABLE: str(self._outage)}

    def do(self, fault: Fault) -> None:
        """Do it, and return when it is over: the server answers, the link is whole."""
        self._tell(str(fault), over=False)
        begin = time.monotonic()
        with ExitStack() as faults:
            if fault.kind == "down" and (link := self._links.get(fault.target)):
                # The port of a dead server refuses connections. The link to it would take them, and close them.
                faults.enter_context(link.cut())
            faults.enter_context(getattr(self._targets[fault.target], fault.kind)())
            time.sleep(fault.seconds)
        self._tell(f"{fault.victim} is back after {time.monotonic() - begin:.1f} s", over=True)

    def _tell(self, text: str, *, over: bool) -> None:
        self._say(text)
        fresh = self._note.with_suffix(".new")
        fresh.write_text(json.dumps({"text": text, "over": over}), encoding="utf-8")
        fresh.replace(self._note)
