import threading

from fastapi import HTTPException

from crypto_updates.harness.app import App, AppError
from crypto_updates.harness.control.schema import Clock
from crypto_updates.harness.crypto import Crypto


class Worker:
    """The worker of `POST /clock`: one at a time, whoever asks."""

    def __init__(self, crypto: Crypto) -> None:
        self._crypto = crypto
        self._apps: list[App] = []
        self._turn = threading.Lock()

    def run(self, clock: Clock) -> None:
        """Raises HTTPException with 422 when the worker does not start."""
        with self._turn:
            self._stop()
            if clock.schedule is not None:
                self._start(clock.schedule, clock)

    def stop(self) -> None:
        with self._turn:
            self._stop()

    def _start(self, schedule: str, clock: Clock) -> None:
        others = list(self._crypto.apps)
        try:
            self._crypto.worker(schedule, clock.clock, **clock.environ)
        except (AppError, OSError, ValueError) as error:
            # One that is not ready in time still runs.
            self._apps = [app for app in self._crypto.apps if app not in others]
            self._stop()
            raise HTTPException(422, str(error)) from error
        self._apps = [app for app in self._crypto.apps if app not in others]

    def _stop(self) -> None:
        while self._apps:
            self._apps.pop().stop()
