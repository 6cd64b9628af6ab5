"""A worker with a defect: its events have an id that another worker would not give them."""

import runpy
import secrets
from datetime import datetime

from crypto_updates.bus import event

sound = event.identity


def identity(feed: str, slot: datetime, part: int = 0) -> str:
    return f"{sound(feed, slot, part)}#{secrets.token_hex(4)}"


event.identity = identity
runpy.run_module("worker", run_name="__main__")
