"""Runs the worker until SIGTERM or SIGINT; with --once, publishes one event."""

import argparse
import asyncio
import logging
import sys
from datetime import UTC, datetime

from crypto_updates.bus import spans
from crypto_updates.bus.client import Bus
from crypto_updates.bus.errors import UnreachableError
from crypto_updates.service import lifecycle
from worker import health, once, tick
from worker.config import WorkerSettings
from worker.market import Market, open_market
from worker.outbox import Outbox
from worker.pipeline import Pipeline
from worker.scheduler import Scheduler, SchedulerError

log = logging.getLogger(__name__)


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
    with spans.exported("worker", settings):
        return await work(settings, args)


async def work(settings: WorkerSettings, args: argparse.Namespace) -> int:
    async with open_market(settings) as market:
        if args.once:
            slot = args.slot or settings.cron.previous(datetime.now(UTC))
            known = tick.knowing(market, slot, settings.cron)
            if args.dry_run:
                return await once.show(slot, settings.feed, known)
            return await once.publish(slot, settings, known)
        with Outbox(settings.outbox_dir, settings.feed) as outbox:
            try:
                await forever(settings, market, outbox)
            except* SchedulerError as errors:
                for error in errors.exceptions:
                    log.error("[CRON] %s", error)
    return 1


async def forever(settings: WorkerSettings, market: Market | None, outbox: Outbox) -> None:
    async with Bus(settings, "worker") as bus:
        # A slot that passes between two readings of the clock would be neither's.
        begin = datetime.now(UTC)
        pipeline = Pipeline(settings, bus, market, outbox, begin=begin)
        scheduler = Scheduler(settings.cron, pipeline.hand, pipeline.announce, begin=begin)

        async def problems() -> list[str]:
            found = [*filter(None, [scheduler.problem, bus.refusal])]
            try:
                await bus.ping()
            except UnreachableError as error:
                found.append(str(error))
            return found

        def warnings() -> list[str]:
            return [*filter(None, [bus.lack])]

        async with health.serve(settings.health_host, settings.health_port, problems, warnings):
            scheduler.start()
            try:
                async with asyncio.TaskGroup() as group:
                    group.create_task(pipeline.run())
                    group.create_task(scheduler.watch())
            finally:
                scheduler.stop(lifecycle.left(1))


if __name__ == "__main__":
    parsed = arguments()
    sys.exit(lifecycle.main(WorkerSettings, lambda settings: run(settings, parsed), lasting=not parsed.once))
