"""An API stub with a defect: it acknowledges what it has not written yet."""

import runpy
from collections.abc import Sequence

from api_stub.subscriber import Subscriber
from crypto_updates.bus.delivery import Delivery

sound = Subscriber.handle


async def handle(self: Subscriber, batch: Sequence[Delivery]) -> None:
    for delivery in batch:
        await delivery.ack()
    await sound(self, batch)


Subscriber.handle = handle  # type: ignore[method-assign]
runpy.run_module("api_stub", run_name="__main__")
