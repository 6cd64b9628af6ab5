"""How late a slot fires: the worker's scheduler, `schedule`'s documented loop and APScheduler, idle and under load.

All three run at the same time, each in a process of its own, on a slot every second; then once more beside processes
that keep one core busy.
"""

import multiprocessing
import threading
import time
from collections.abc import Callable

import schedule
from apscheduler.schedulers.background import BackgroundScheduler
from apscheduler.triggers.cron import CronTrigger

from crypto_updates.clock.cron import Cron
from tests.benchmarks.quantile import p50, p99
from worker.scheduler import Scheduler

# Calls a function at each slot, until the event is set.
Contender = Callable[[Callable[[], None], threading.Event], None]


def worker(fire: Callable[[], None], done: threading.Event) -> None:
    scheduler = Scheduler(Cron("* * * * * *"), lambda _: fire())
    scheduler.start()
    done.wait()
    scheduler.stop(1)


def plain_schedule(fire: Callable[[], None], done: threading.Event) -> None:
    """As its documentation has it: look, then sleep for a second."""
    scheduler = schedule.Scheduler()
    scheduler.every(1).seconds.do(fire)
    while not done.is_set():
        scheduler.run_pending()
        time.sleep(1)


def apscheduler(fire: Callable[[], None], done: threading.Event) -> None:
    scheduler = BackgroundScheduler()
    scheduler.add_job(fire, CronTrigger(second="*"))
    scheduler.start()
    done.wait()
    scheduler.shutdown()


CONTENDERS: dict[str, Contender] = {"worker": worker, "schedule": plain_schedule, "apscheduler": apscheduler}


def lateness(name: str, slots: int) -> list[float]:
    """Seconds from the last whole second to each call."""
    late: list[float] = []
    done = threading.Event()

    def fire() -> None:
        late.append(time.time() % 1)
        if len(late) >= slots:
            done.set()

    CONTENDERS[name](fire, done)
    return late


def burn() -> None:
    while True:
        pass


def side_by_side(slots: int) -> dict[str, dict[str, float]]:
    """Seconds of lateness."""
    context = multiprocessing.get_context("spawn")
    with context.Pool(len(CONTENDERS)) as pool:
        found = pool.starmap(lateness, [(name, slots) for name in CONTENDERS], chunksize=1)
    return {name: {"p50": p50(late), "p99": p99(late)} for name, late in zip(CONTENDERS, found, strict=True)}


def measure(slots: int) -> dict[str, dict[str, dict[str, float]]]:
    """Seconds of lateness, by load and contender."""
    figures = {"idle": side_by_side(slots)}
    busy = multiprocessing.get_context("spawn").Process(target=burn, daemon=True)
    busy.start()
    figures["one core busy"] = side_by_side(slots)
    busy.kill()
    busy.join()
    return figures
