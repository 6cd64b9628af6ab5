"""Where the server does not let this user publish. It says so out of band, and the request itself gets no reply."""

import asyncio
import re
from collections.abc import Collection, Coroutine, Iterable
from typing import Any, TypeVar

from crypto_updates.bus.errors import NotPermittedError
from crypto_updates.service import lifecycle

T = TypeVar("T")

# Each delivery has a subject of its own to be acknowledged on. They count as one.
ACKS = "$JS.ACK.>"
_ACK = re.compile(r'"\$js\.ack\.[^"]*"')


class Rights:
    def __init__(self) -> None:
        self._refusals: set[str] = set()
        self._told: set[str] = set()
        self._refused = asyncio.Event()

    def refuse(self, text: str) -> bool:
        """Keep what the server says. Return True if it says it for the first time."""
        refusal = _ACK.sub(f'"{ACKS.lower()}"', text.lower())
        is_new = refusal not in self._told
        self._told.add(refusal)
        self._refusals.add(refusal)
        self._refused.set()
        return is_new

    def lacks(self, subject: str) -> bool:
        return any(f'"{subject.lower()}"' in refusal for refusal in self._refusals)

    def forget(self, subject: str) -> None:
        """Ask the server anew: the right may have been given since."""
        self._refusals = {refusal for refusal in self._refusals if f'"{subject.lower()}"' not in refusal}

    async def granted(self, work: Coroutine[Any, Any, T], subjects: Collection[str]) -> T:
        """Return what the work returns. Raises NotPermittedError when the user may not publish on a subject."""
        try:
            return await lifecycle.unless(self._refusal(subjects), NotPermittedError, work)
        except NotPermittedError:
            raise not_permitted(list(filter(self.lacks, subjects))) from None

    async def _refusal(self, subjects: Iterable[str]) -> None:
        """Wait until one of the subjects is refused."""
        while not any(map(self.lacks, subjects)):
            self._refused.clear()
            await self._refused.wait()


def not_permitted(subjects: Collection[str]) -> NotPermittedError:
    return NotPermittedError(f"the user may not publish on {' or '.join(subjects)}: verify NATS_USER and its rights")
