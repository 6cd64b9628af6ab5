"""What no user of MongoDB may do, tried by each: refused, and possible for a user with broad rights."""

import asyncio
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from pymongo import MongoClient
from pymongo.database import Database
from pymongo.errors import OperationFailure, PyMongoError

from api_stub import retention
from api_stub.query import LETTERS_FIRST
from api_stub.reader import Reader
from api_stub.store import Store
from crypto_updates.clock.timetable import Timetable
from crypto_updates.harness.plugin import Service
from crypto_updates.local import ports
from crypto_updates.local.servers import NatsServer
from stack.setup import database
from stack.setup.config import ProvisionSettings
from stack.setup.servers import SYSTEM
from stack.setup.users import ROLES
from tests.e2e.security.conftest import Confined
from tests.support import connect, soon

pytestmark = pytest.mark.timeout(60)

Attempt = Callable[[Database[dict[str, Any]]], object]

UNAUTHORIZED = 13
JAVASCRIPT: dict[str, Attempt] = {
    "$where": lambda crypto: crypto.events.find_one({"$where": "true"}),
    "$function": lambda crypto: list(
        crypto.events.aggregate([{"$set": {"x": {"$function": {"body": "function(){}", "args": [], "lang": "js"}}}}])
    ),
}
FIND: dict[str, Attempt] = {
    "find": lambda crypto: crypto.events.find_one(),
    "count": lambda crypto: crypto.events.count_documents({}),
    "distinct": lambda crypto: crypto.events.distinct("_id"),
}
READ = FIND | {"find dead letters": lambda crypto: crypto.dead_letters.find_one()}
INDEXES: dict[str, Attempt] = {"list the indexes": lambda crypto: crypto.events.list_indexes().to_list()}
WATCH: dict[str, Attempt] = {"watch": lambda crypto: crypto.events.watch(max_await_time_ms=1).close()}
INSERT: dict[str, Attempt] = {
    "insert": lambda crypto: crypto.events.insert_one({"_id": f"forged{time.time_ns()}"}),
    "insert dead letter": lambda crypto: crypto.dead_letters.insert_one({"_id": f"forged{time.time_ns()}"}),
}
NOTE: dict[str, Attempt] = {
    "note a first slot": lambda crypto: crypto.feeds.insert_one({"_id": f"forged{time.time_ns()}"}),
}
NOTED: dict[str, Attempt] = {"read a first slot": lambda crypto: crypto.feeds.find_one()}
REMOVE: dict[str, Attempt] = {
    "delete": lambda crypto: crypto.events.delete_one({"_id": "nothing"}),
    "delete all": lambda crypto: crypto.dead_letters.delete_many({"_id": "nothing"}),
}
NOBODYS: dict[str, Attempt] = {
    "update": lambda crypto: crypto.events.update_one({"_id": "kept"}, {"$set": {"source": "forged"}}),
    "change a first slot": lambda crypto: crypto.feeds.update_one({"_id": "crypto"}, {"$set": {"first": 0}}),
    "remove a first slot": lambda crypto: crypto.feeds.delete_one({"_id": "nothing"}),
    "replace": lambda crypto: crypto.events.replace_one({"_id": "kept"}, {"source": "forged"}),
    "upsert": lambda crypto: crypto.events.update_one({"_id": "x"}, {"$set": {"a": 1}}, upsert=True),
    "find and modify": lambda crypto: crypto.events.find_one_and_update({"_id": "kept"}, {"$set": {"a": 1}}),
    "insert elsewhere": lambda crypto: crypto.elsewhere.insert_one({}),
    "insert in another database": lambda crypto: crypto.client.other.events.insert_one({}),
    "$out": lambda crypto: list(crypto.events.aggregate([{"$out": "copy"}])),
    "$merge": lambda crypto: list(crypto.events.aggregate([{"$merge": "copy"}])),
    "list collections": lambda crypto: crypto.list_collection_names(),
    "read the users": lambda crypto: crypto.client.admin["system.users"].find_one(),
    "read the oplog": lambda crypto: crypto.client.local["oplog.rs"].find_one(),
    "watch the database": lambda crypto: crypto.watch(max_await_time_ms=1).close(),
    "watch everything": lambda crypto: crypto.client.watch(max_await_time_ms=1).close(),
    "create an index": lambda crypto: crypto.events.create_index("x"),
    "drop the indexes": lambda crypto: crypto.events.drop_indexes(),
    "create a collection": lambda crypto: crypto.create_collection(f"x{time.time_ns()}"),
    "change a collection": lambda crypto: crypto.command("collMod", "events", validationLevel="off"),
    "create a user": lambda crypto: crypto.command("createUser", f"x{time.time_ns()}", pwd="x", roles=[]),
    "change a password": lambda crypto: crypto.client.admin.command("updateUser", "reader", pwd="guessed"),
    "grant itself a role": lambda crypto: crypto.client.admin.command("grantRolesToUser", "reader", roles=["root"]),
    "read the configuration": lambda crypto: crypto.client.admin.command("getCmdLineOpts"),
    "read the log": lambda crypto: crypto.client.admin.command("getLog", "global"),
    "set a parameter": lambda crypto: crypto.client.admin.command("setParameter", 1, logLevel=0),
    "read the server's state": lambda crypto: crypto.client.admin.command("serverStatus"),
    "see others' operations": lambda crypto: list(crypto.client.admin.aggregate([{"$currentOp": {"allUsers": True}}])),
    "reconfigure": lambda crypto: crypto.client.admin.command("replSetGetConfig"),
    "lock": lambda crypto: crypto.client.admin.command("fsync", 1),
    "rename": lambda crypto: crypto.events.rename("gone"),
    "drop": lambda crypto: crypto.gone.drop(),
    "drop the database": lambda crypto: crypto.client.drop_database("crypto"),
}
# These would break what the other tests rely on.
HARMFUL = {"change a password", "grant itself a role", "drop the database", "lock"}
ALL = READ | INDEXES | WATCH | INSERT | NOTE | NOTED | REMOVE | NOBODYS | JAVASCRIPT
ALLOWED = {
    "writer": FIND | INSERT | NOTE,
    "reader": READ | INDEXES | WATCH | NOTED,
    "operator": READ | INDEXES | INSERT | REMOVE | NOTED,
}


def url(server: Confined, user: str, password: str) -> str:
    return f"mongodb://{user}:{password}@127.0.0.1:{server.port}/?authSource={'local' if user == SYSTEM else 'admin'}"


def password_of(vault: Path, user: str) -> str:
    return (vault / "home" / f"mongo-{user}").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def system(confined_mongod: Confined, vault: Path) -> Iterator[MongoClient[dict[str, Any]]]:
    """A client with all rights, on a server that was provisioned, twice."""
    address = url(confined_mongod, SYSTEM, password_of(vault, "key"))
    settings = ProvisionSettings.load({"MONGO_URL": address, "SECRETS_DIR": str(vault / "provision")})
    for _ in range(2):
        database.provision(settings, 30)
    with MongoClient[dict[str, Any]](address, directConnection=True) as client:
        client.crypto.events.insert_one({"_id": "kept", "source": "simulated"})
        yield client


def done(crypto: Database[dict[str, Any]], attempts: dict[str, Attempt]) -> set[str]:
    """The attempts that succeed. Each that does not is refused for want of a right, or of JavaScript."""
    found = set()
    for name, attempt in attempts.items():
        try:
            attempt(crypto)
        except OperationFailure as error:
            if error.code != UNAUTHORIZED and name not in JAVASCRIPT:
                raise
        else:
            found.add(name)
    return found


@pytest.mark.parametrize("user", ROLES)
def test_a_user_can_do_nothing_but_its_part(
    confined_mongod: Confined, vault: Path, system: MongoClient[dict[str, Any]], user: str
) -> None:
    address = url(confined_mongod, user, password_of(vault, user))
    with MongoClient[dict[str, Any]](address, directConnection=True) as client:
        assert done(client.crypto, ALL) == set(ALLOWED[user])
    assert system.crypto.events.find_one({"_id": "kept"}) == {"_id": "kept", "source": "simulated"}


def test_a_user_who_may_only_make_indexes_provisions_where_somebody_else_makes_the_users(
    confined_mongod: Confined, system: MongoClient[dict[str, Any]], tmp_path: Path
) -> None:
    system.admin.command("createUser", "maker", pwd="maker", roles=[{"role": "dbAdmin", "db": "crypto"}])
    system.crypto.dead_letters.drop_indexes()
    # As in the URLs that MongoDB's operator makes.
    address = f"{url(confined_mongod, 'maker', 'maker')}&replicaSet=rs0&ssl=false"
    database.provision(ProvisionSettings.load({"MONGO_URL": address, "SECRETS_DIR": str(tmp_path)}), 30)
    assert "received_at_-1__id_-1" in system.crypto.dead_letters.index_information()


async def test_the_reader_knows_of_a_missing_index_and_of_a_missing_right(
    confined_mongod: Confined, vault: Path, system: MongoClient[dict[str, Any]]
) -> None:
    async with Reader(url(confined_mongod, "reader", password_of(vault, "reader")), "crypto") as reader:
        assert await reader.lacks(None, timedelta()) == []
        system.crypto.dead_letters.drop_indexes()
        assert ["dead_letters on received_at, _id" in lack for lack in await reader.lacks(None, timedelta())] == [True]
        privileges = [{"resource": {"db": "crypto", "collection": "events"}, "actions": ["find"]}]
        system.admin.command("createRole", "finder", privileges=privileges, roles=[])
        system.admin.command("createUser", "finder", pwd="finder", roles=["finder"])
    async with Reader(url(confined_mongod, "finder", "finder"), "crypto") as reader:
        async with reader.inserts(25) as inserts:
            system.crypto.events.insert_one({"_id": "new"})
            insert = await inserts.try_next()
            assert insert
            assert insert["fullDocument"] == {"_id": "new"}
        assert ["changeStream" in lack for lack in await reader.lacks(None, timedelta())] == [True]
    system.crypto.events.delete_one({"_id": "new"})
    system.crypto.dead_letters.create_index(LETTERS_FIRST)


async def test_an_age_is_kept_by_the_provisioner_where_the_api_stub_may_not(
    confined_mongod: Confined, vault: Path, system: MongoClient[dict[str, Any]], caplog: pytest.LogCaptureFixture
) -> None:
    async def first() -> datetime:
        return datetime(2023, 11, 21, 14, 30, tzinfo=UTC)

    age, users = timedelta(days=9), {name: password_of(vault, name) for name in ("writer", "reader")}
    async with Store(url(confined_mongod, "writer", users["writer"]), "crypto") as store:
        assert await retention.settle(store.database, age)
        assert await retention.note(store.database, "theirs", first)
    assert caplog.messages == []
    async with Reader(url(confined_mongod, "reader", users["reader"]), "crypto") as reader:
        told = "MongoDB keeps all events, and MAX_EVENT_AGE is 9d: run `crypto-updates provision`"
        assert await reader.lacks(age, timedelta()) == [told]
        address = url(confined_mongod, SYSTEM, password_of(vault, "key"))
        await database.retain(ProvisionSettings.load({"MONGO_URL": address, "MAX_EVENT_AGE": "9d"}))
        assert await reader.lacks(age, timedelta()) == []
        found = await reader.beginning(Timetable(feed="theirs"), datetime.now(UTC))
        assert (found.age, found.is_aged) == (age, True)
        told = (
            "MongoDB removes events 9d after their slot, and MAX_EVENT_AGE is not set: run `crypto-updates provision`"
        )
        assert await reader.lacks(None, timedelta()) == [told]
    system.crypto.events.drop_index(retention.NAME)


def test_a_user_with_broad_rights_finds_the_holes(
    confined_mongod: Confined, system: MongoClient[dict[str, Any]]
) -> None:
    system.admin.command("createUser", "broad", pwd="broad", roles=["root"])
    with MongoClient[dict[str, Any]](url(confined_mongod, "broad", "broad"), directConnection=True) as client:
        client.broad.events.insert_one({"_id": "kept"})
        attempts = {name: attempt for name, attempt in ALL.items() if name not in HARMFUL | JAVASCRIPT.keys()}
        assert done(client.broad, attempts) == set(attempts)


@pytest.mark.parametrize(
    "credential", ["", "writer:writer@", "reader:@", "admin:admin@", "root:root@", "root:example@", "__system:key@"]
)
def test_nobody_reads_without_a_credential(
    confined_mongod: Confined, system: MongoClient[dict[str, Any]], credential: str
) -> None:
    assert system.crypto.events.find_one()
    address = f"mongodb://{credential}127.0.0.1:{confined_mongod.port}/"
    for attempt in (*READ.values(), *NOBODYS.values()):
        with (
            pytest.raises(PyMongoError),
            MongoClient[dict[str, Any]](address, directConnection=True, timeoutMS=2000) as client,
        ):
            attempt(client.crypto)


async def test_an_api_stub_without_its_rights_says_so_and_stores_once_it_has_them(
    confined_mongod: Confined, system: MongoClient[dict[str, Any]], service: Service
) -> None:
    system.admin.command("createUser", "none", pwd="none", roles=[])
    port = str(ports.free())

    def ready() -> str:
        answer = httpx.get(f"http://127.0.0.1:{port}/readyz", trust_env=False, timeout=10)
        return f"{answer.status_code} {answer.text}"

    with NatsServer() as server:
        address = url(confined_mongod, "none", "none")
        stub = service("api_stub", NATS_URL=server.url, MONGO_URL=address, HTTP_PORT=port)
        await asyncio.to_thread(stub.wait_for_line, "[NATS] Connected")
        client = await connect(server.url)
        await client.jetstream().publish("crypto.updates", b'{"event":"CRYPTO_UPDATE","timestamp":"2023-11-21T14:30Z"}')
        await client.close()
        refused = "[MONGO] MongoDB refuses the events; events wait, retrying: "
        assert "verify the user in MONGO_URL" in await asyncio.to_thread(stub.wait_for_line, refused)
        assert await soon(lambda: "503 " in ready() and "MongoDB refuses" in ready())
        system.admin.command("grantRolesToUser", "none", roles=[{"role": "readWrite", "db": "crypto"}])
        await asyncio.to_thread(stub.wait_for_line, "[MONGO] Storing again after")
        assert await soon(lambda: ready().startswith("200 "))
    system.crypto.events.delete_many({"_id": {"$ne": "kept"}})
