"""`python -m tests.triggers`: real-time minutes of a worker under TRIGGER_SUBJECT that is killed and started again.

Each event's trigger comes at most once, and none is missing that the stream took while the worker lived.
"""

import argparse
import asyncio
import json
import os
import random
import sys
import tempfile
import time
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

from nats.aio.client import Client
from nats.aio.msg import Msg

from crypto_updates.bus.stream import STREAM
from crypto_updates.local import ports, programs
from crypto_updates.local.process import Process
from crypto_updates.local.servers import NatsServer
from tests.support import connect, settled

# An event that the stream took so shortly before a kill may have no trigger.
CUT_SECONDS = 0.5


class Run:
    def __init__(self, url: str, folder: Path) -> None:
        self.triggers = Counter[str]()
        self.kills: list[float] = []
        self._folder = folder
        own = {"NATS_URL": url, "SCHEDULE": "* * * * * *", "MISSED_SLOTS": "all", "MARKET_SOURCE": "simulated"}
        self._environ = own | {"TRIGGER_SUBJECT": "crypto.update", "HEALTH_PORT": str(ports.free())}

    async def hear(self, message: Msg) -> None:
        self.triggers[json.loads(message.data)["timestamp"]] += 1

    def worker(self) -> Process:
        return programs.start("worker", environ=os.environ | self._environ, cwd=self._folder)

    async def last(self, seconds: float, kills: int) -> None:
        """Kill the worker at random instants, and let it stop by itself at the end."""
        begin, worker = time.monotonic(), self.worker()
        for instant in [*sorted(random.uniform(0.1, 0.9) * seconds for _ in range(kills)), seconds]:
            await asyncio.sleep(begin + instant - time.monotonic())
            if instant < seconds:
                worker.kill()
                self.kills.append(time.time())
                await asyncio.to_thread(worker.wait)
                worker = self.worker()
        await asyncio.to_thread(worker.stop)


async def taken(client: Client) -> dict[str, float]:
    """When the stream took the event of each slot, in Unix time."""
    js = client.jetstream()
    last = (await js.stream_info(STREAM)).state.last_seq
    messages = [await js.get_msg(STREAM, seq) for seq in range(1, last + 1)]
    return {
        json.loads(message.data or b"")["timestamp"]: message.time.timestamp() for message in messages if message.time
    }


async def run(seconds: float, kills: int) -> int:
    with NatsServer() as server, tempfile.TemporaryDirectory() as folder:
        client = await connect(server.url)
        under = Run(server.url, Path(folder))
        await client.subscribe("crypto.update", cb=under.hear)
        await settled(client)
        await under.last(seconds, kills)
        await settled(client)
        events = await taken(client)
        await client.close()
    twice = [slot for slot, count in under.triggers.items() if count > 1]
    missing = {slot: at for slot, at in events.items() if slot not in under.triggers}
    cut = [slot for slot, at in missing.items() if any(0 <= kill - at < CUT_SECONDS for kill in under.kills)]
    report = (
        f"{seconds:.0f} s, killed at {[datetime.fromtimestamp(at, UTC).time().isoformat() for at in under.kills]}",
        f"events in the stream: {len(events)}, triggers: {under.triggers.total()}",
        f"twice: {twice}, missing: {sorted(missing.keys() - set(cut))}, cut off by a kill: {cut}",
    )
    print(*report, sep="\n")  # noqa: T201 - its output
    return int(bool(twice or missing.keys() - set(cut) or not events))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("--kills", type=int, default=2)
    options = parser.parse_args()
    sys.exit(asyncio.run(run(options.seconds, options.kills)))
