"""The members of the composed cluster: who leads, who is cut off, and what each of them holds."""

import asyncio
import contextlib
import json
import re
import subprocess
from collections.abc import Iterator
from functools import partial

import nats.errors
from pymongo import MongoClient
from pymongo.errors import PyMongoError

from stack.setup.servers import MONGO, NATS
from tests.compose.project import Project, docker, must
from tests.support import soon

# Both run within the network of a member, so that one that is cut off from all others can be asked, too.
OFFER_TO_NATS = """
import asyncio, json, sys, nats
async def offer(password, identity):
    login = {"user": "operator", "password": password, "inbox_prefix": "_INBOX_operator"}
    client = await nats.connect("nats://127.0.0.1", allow_reconnect=False, **login)
    event = b'{"event":"CRYPTO_UPDATE","timestamp":"2023-11-21T14:30:00Z"}'
    try:
        await client.jetstream(timeout=5).publish("crypto.updates", event, headers={"Nats-Msg-Id": identity})
        print("acknowledged")
    except Exception as error:
        print("not acknowledged:", repr(error))
asyncio.run(offer(**json.load(sys.stdin)))
"""
OFFER_TO_MONGO = """
import json, sys
from datetime import UTC, datetime
from pymongo import MongoClient, WriteConcern
given = json.load(sys.stdin)
with MongoClient(given["url"], directConnection=True, serverSelectionTimeoutMS=5000) as client:
    events = client.crypto.get_collection("events", write_concern=WriteConcern("majority", 5000, True))
    try:
        slot = datetime(2023, 11, 21, 14, 30, tzinfo=UTC)
        events.insert_one({"_id": given["identity"], "event": "CRYPTO_UPDATE", "timestamp": slot})
        print("acknowledged")
    except Exception as error:
        print("not acknowledged:", repr(error))
"""
READ_MONGO = """
import json, sys
from pymongo import MongoClient
with MongoClient(json.load(sys.stdin)["url"], directConnection=True, serverSelectionTimeoutMS=5000) as client:
    try:
        print(json.dumps(sorted(event["_id"] for event in client.crypto.events.find({}, {"_id": 1}))))
    except Exception as error:  # it is taking back what it alone had, or is being started
        print(repr(error), file=sys.stderr)
"""
STATES = "import urllib.request as r; print(r.urlopen('http://127.0.0.1:8222/jsz?streams=1').read().decode())"


def beside(project: Project, member: str, script: str, **given: str) -> str:
    """What the script prints that runs in the member's network."""
    return must(_run_beside(project, member, script, **given)).strip()


def _run_beside(project: Project, member: str, script: str, **given: str) -> subprocess.CompletedProcess[str]:
    run = ("run", "--rm", "--interactive", "--network", f"container:{project.container(member)}")
    command = (*run, "--entrypoint", "python", "crypto-updates-stack", "-c", script)
    return docker(*command, input=json.dumps(given))


def mongo_url(project: Project) -> str:
    """The operator's, for somebody beside a member."""
    return re.sub(r"@[^/]+/", "@127.0.0.1:27017/", project.operator["MONGO_URL"])


async def offers(project: Project, leader: str, primary: str, name: str) -> list[str]:
    """What becomes of an event that is offered to this NATS server, and of one that is offered to this MongoDB."""
    offer, login = partial(asyncio.to_thread, beside, project), project.operator["NATS_PASSWORD"]
    return await asyncio.gather(
        offer(leader, OFFER_TO_NATS, password=login, identity=f"{name}@nats"),
        offer(primary, OFFER_TO_MONGO, url=mongo_url(project), identity=f"{name}@mongo"),
    )


async def leading(project: Project) -> tuple[str, str]:
    """The server that leads the stream, and the primary of MongoDB's replica set, once there are both."""
    found = await soon(lambda: _leading(project))
    assert found, "no leader, or no primary"
    return found


def _leading(project: Project) -> tuple[str, str] | None:
    leader, primary = asyncio.run(_nats_leader(project)), _mongo_primary(project)
    return (leader, primary) if leader and primary else None


async def _nats_leader(project: Project) -> str | None:
    try:
        client = await project.connect()
        try:
            info = await client.jetstream().stream_info("CRYPTO")
        finally:
            await client.close()
    except (nats.errors.Error, OSError, TimeoutError):
        return None
    return info.cluster.leader if info.cluster else None


def _mongo_primary(project: Project) -> str:
    with MongoClient[dict[str, str]](project.mongo_url) as client:
        try:
            return str(client.admin.command("hello").get("primary", "")).partition(":")[0]
        except PyMongoError:
            return ""


@contextlib.contextmanager
def cut_off(project: Project, *members: str) -> Iterator[None]:
    """Without a network, until the end of the `with`."""
    with contextlib.ExitStack() as healing:
        for member in members:
            container = project.container(member)
            for name in project.inspect(member)["NetworkSettings"]["Networks"]:
                must(docker("network", "disconnect", name, container))
                healing.callback(_connect, name, member, container)
        yield


def _connect(network: str, member: str, container: str) -> None:
    must(docker("network", "connect", "--alias", member, network, container))


@contextlib.contextmanager
def frozen(project: Project, *members: str) -> Iterator[None]:
    """Until the end of the `with`."""
    must(project.compose("pause", *members))
    try:
        yield
    finally:
        must(project.compose("unpause", *members))


def stream_states(project: Project) -> set[tuple[int, ...]]:
    """What each NATS server has of the stream: one state when they agree."""
    return {_state(project.compose("exec", "-T", server, "python", "-c", STATES).stdout) for server in NATS}


def _state(told: str) -> tuple[int, ...]:
    """Nothing of a server that is being started."""
    for account in json.loads(told or "{}").get("account_details", ()):
        for stream in account.get("stream_detail", ()):
            if stream["name"] == "CRYPTO":
                return tuple(stream["state"][figure] for figure in ("messages", "first_seq", "last_seq"))
    return ()


def agreed(project: Project) -> str:
    """The ids of all events, as JSON, when each member of MongoDB's replica set has the same ones, and each NATS server
    the same of the stream; nothing before.
    """
    # Docker refuses to run anything beside a member that is being started: that one tells nothing then.
    found = {_run_beside(project, member, READ_MONGO, url=mongo_url(project)).stdout.strip() for member in MONGO}
    states = stream_states(project)
    return found.pop() if len(found) == len(states) == 1 and all(states) else ""
