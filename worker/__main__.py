"""Runs the worker until SIGTERM or SIGINT; with --once, publishes one event."""

import argparse
import asyncio
import sys
from datetime import UTC, datetime

from crypto_updates.bus.client import Bus
from crypto_updates.bus.errors import UnreachableError
from crypto_updates.service import lifecycle
from worker import health, once
from worker.config import WorkerSettings
from worker.market import Market, open_market
from worker.outbox import Outbox
from worker.pipeline import Pipeline
from worker.scheduler import Scheduler


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m worker", description=__doc__)
    parser.add_argument("--once", action="store_true", help="publish one event and exit: 0 once the server has it")
    parser.add_argument(
        "--slot", metavar="TIME", type=once.parse_slot, help="with --once: the event's slot (default: the newest slot)"
    )
    parser.add_argument("--dry-run", action="store_true", help="with --once: print the event, publish nothing")
    args = parser.parse_args()
    if (args.slot or args.dry_run) and not args.once:
        parser.error("--slot and --dry-run go with --once")
    return args


async def run(settings: WorkerSettings, args: argparse.Namespace) -> int:
    async with open_market(settings) as market:
        if args.once:
            slot = args.slot or settings.cron.previous(datetime.now(UTC))
            if args.dry_run:
                return await once.show(slot, settings.feed, market)
            return await once.publish(slot, settings, market)
        with Outbox(settings.outbox_dir, settings.feed) as outbox:
            await forever(settings, market, outbox)
    return 0


async def forever(settings: WorkerSettings, market: Market | None, outbox: Outbox) -> None:
    loop = asyncio.get_running_loop()
    async with Bus(settings, "worker") as bus:

        def problem() -> str | None:
            try:
                asyncio.run_coroutine_threadsafe(bus.ping(), loop).result(4)
            except (UnreachableError, TimeoutError) as error:
                return str(error) or "the worker's event loop does not answer"
            return None

        pipeline = Pipeline(settings, bus, market, outbox)
        scheduler = Scheduler(settings.cron, pipeline.hand)
        with health.serve(settings.health_host, settings.health_port, problem):
            scheduler.start()
            try:
                await pipeline.run()
            finally:
                scheduler.stop(lifecycle.left(1))


if __name__ == "__main__":
    parsed = arguments()
    sys.exit(lifecycle.main(WorkerSettings, lambda settings: run(settings, parsed), lasting=not parsed.once))
