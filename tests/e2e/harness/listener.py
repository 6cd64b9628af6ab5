"""A server under test: it stores what it hears."""

import asyncio
import os
import sys

import nats
from nats.aio.msg import Msg
from pymongo import MongoClient


async def main() -> None:
    client = await nats.connect(os.environ["NATS_URL"], reconnect_time_wait=0.1, max_reconnect_attempts=-1)
    database = MongoClient[dict[str, str]](os.environ["MONGO_URL"]).get_default_database()

    async def store(message: Msg) -> None:
        database.heard.insert_one({"body": message.data.decode(errors="replace")})
        sys.stdout.write("stored\n")
        sys.stdout.flush()

    await client.subscribe(os.environ.get("SUBJECT", "crypto.updates"), cb=store)
    await asyncio.Event().wait()


asyncio.run(main())
