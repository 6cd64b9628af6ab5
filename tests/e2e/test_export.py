"""`crypto-updates export`: what it writes is what is stored, in one order, with little memory, whole or not at all."""

import csv
import io
import itertools
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from bson.decimal128 import Decimal128
from bson.int64 import Int64
from bson.objectid import ObjectId
from pymongo import MongoClient

from crypto_updates.bus.event import identity, text
from crypto_updates.local import guard
from crypto_updates.local.servers import Mongod
from tests.e2e.conftest import Stack
from tests.support import ROOT

SLOT = datetime(2023, 11, 21, 14, 30, tzinfo=UTC)
QUARTER = timedelta(minutes=15)
QUOTE = {
    "coin": "bitcoin",
    "symbol": "btc",
    "price": 0.1 + 0.2,
    "market_cap": Int64(2**63 - 1),
    "change_24h": -0.25,
    "currency": "usd",
    "updated_at": text(SLOT),
}


def stored(slot: datetime, feed: str = "crypto", **more: object) -> dict[str, Any]:
    own = {"_id": identity(feed, slot), "event": "CRYPTO_UPDATE", "timestamp": slot}
    return own | more | {"received_at": slot + timedelta(milliseconds=1500), "stream_seq": 7}


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "stack", "export", *arguments]


def variables(url: str, database: str) -> dict[str, str]:
    return os.environ | {"MONGO_URL": url, "MONGO_DB": database, "PYTHONPATH": str(ROOT)}


class Export:
    def __init__(self, stack: Stack, folder: Path) -> None:
        self.events = stack.events
        self.folder = folder
        self.env = variables(stack._environ["MONGO_URL"], stack.events.database.name)

    def __call__(self, *arguments: str, **environ: str) -> bytes:
        done = self.run(*arguments, **environ)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def run(self, *arguments: str, **environ: str) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(
            command(*arguments), env=self.env | environ, cwd=self.folder, capture_output=True, check=False, timeout=90
        )


@pytest.fixture
def export(stack: Stack, tmp_path: Path) -> Export:
    return Export(stack, tmp_path)


def test_a_line_is_an_event_with_every_value_as_it_is_stored(export: Export) -> None:
    event = stored(
        SLOT, source="coingecko", data=[QUOTE], n=1, x=1.0, big=1e22, none=None, t="é\u2028\n", o={"a": [True]}
    )
    export.events.insert_one(event)
    assert export().decode() == (
        '{"_id":"crypto@2023-11-21T14:30:00Z","event":"CRYPTO_UPDATE","timestamp":"2023-11-21T14:30:00Z",'
        '"source":"coingecko","data":[{"coin":"bitcoin","symbol":"btc","price":0.30000000000000004,'
        '"market_cap":9223372036854775807,"change_24h":-0.25,"currency":"usd","updated_at":"2023-11-21T14:30:00Z"}],'
        '"n":1,"x":1.0,"big":1e22,"none":null,"t":"é\u2028\\n","o":{"a":[true]},'
        '"received_at":"2023-11-21T14:30:01.500000Z","stream_seq":7}\n'
    )


def test_a_decimal_has_all_its_digits_in_both_forms(export: Export) -> None:
    digits = "0.1000000000000000000000000000000001"
    export.events.insert_one(stored(SLOT, data=[QUOTE | {"price": Decimal128(digits)}]))
    line = json.loads(export(), parse_float=Decimal)
    assert line["data"][0]["price"] == Decimal(digits)
    (row,) = csv.DictReader(io.StringIO(export("--format", "csv").decode()))
    assert row["price"] == digits


def test_csv_has_a_row_for_each_quote_and_one_for_an_event_without(export: Export) -> None:
    odd = QUOTE | {"coin": 'a "coin", or\ntwo', "price": None, "market_cap": 1, "source": "defillama", "symbol": "a\rb"}
    both = stored(
        SLOT, source="coingecko+defillama", data=[QUOTE | {"source": "coingecko"}, odd], fetched_at=text(SLOT)
    )
    theirs = stored(SLOT + 2 * QUARTER, data={"of": "somebody"}, source=["else"], traceparent="00-1-2-01")
    export.events.insert_many([both, stored(SLOT + QUARTER), theirs])
    head, first, rest = (found := export("--format", "csv").decode()).split("\r\n", 2)
    assert head == (
        "_id,timestamp,source,fetched_at,received_at,stream_seq,traceparent,coin,symbol,price,market_cap,change_24h,"
        "currency,updated_at"
    )
    assert first == (
        "crypto@2023-11-21T14:30:00Z,2023-11-21T14:30:00Z,coingecko,2023-11-21T14:30:00Z,2023-11-21T14:30:01.500000Z,7,"
        ",bitcoin,btc,0.30000000000000004,9223372036854775807,-0.25,usd,2023-11-21T14:30:00Z"
    )
    assert rest.endswith("\r\n")
    rows = [*csv.DictReader(io.StringIO(found, newline=""))]
    assert rows[1]["symbol"] == "a\rb"
    assert [row["source"] for row in rows] == ["coingecko", "defillama", "", '["else"]']
    assert (rows[1]["coin"], rows[1]["price"], rows[1]["market_cap"]) == (odd["coin"], "", "1")
    assert [row["timestamp"] for row in rows[2:]] == [text(SLOT + QUARTER), text(SLOT + 2 * QUARTER)]
    assert {rows[2][name] for name in ("coin", "price", "updated_at")} == {""}
    assert rows[3]["traceparent"] == "00-1-2-01"


def ids(lines: bytes) -> list[Any]:
    return [json.loads(line)["_id"] for line in lines.splitlines()]


def test_spans_that_follow_each_other_have_each_event_once_and_are_the_whole(export: Export) -> None:
    slots = [SLOT + number * QUARTER for number in range(20)]
    export.events.insert_many(
        stored(slot, feed) for slot in reversed(slots) for feed in ("crypto", "crypto-2", "cryptoX", "b")
    )
    whole = export()
    assert len(ids(whole)) == 80
    cut = [text(slot) for slot in (slots[7], slots[13])]
    parts = [export("--until", cut[0]), export("--since", cut[0], "--until", cut[1]), export("--since", cut[1])]
    assert b"".join(parts) == whole
    assert ids(export("--feed", "crypto")) == [identity("crypto", slot) for slot in slots]
    only = export("--feed", "b", "--since", cut[0], "--until", cut[1])
    assert ids(only) == [identity("b", slot) for slot in slots[7:13]]


def test_events_of_one_time_are_in_the_order_of_their_ids_whatever_these_are(export: Export) -> None:
    names = [3, 20, "CRYPTO#1@x", "b", "crypto@2023-11-21T14:30:00Z", ObjectId("6560c0ffee6560c0ffee6560")]
    export.events.insert_many(stored(SLOT) | {"_id": name} for name in reversed(names))
    assert ids(export()) == [*names[:5], "6560c0ffee6560c0ffee6560"]


def test_without_events_ndjson_is_empty_and_csv_has_its_head(export: Export) -> None:
    assert export() == b""
    assert export("--format", "csv").startswith(b"_id,timestamp,")


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["--since", "soon"], "--since: 'soon': not an ISO 8601 time; accepted: 90s, "),
        (["--until", "2099-01-01"], "--until: '2099-01-01': not in the past; accepted: 90s, "),
        (["--since", "1d", "--until", "2d"], "--since is not before --until"),
        (["--feed", "a b"], "--feed: 'a b': accepted: letters, digits, _ and -, 64 at most"),
        (["--format", "xml"], "invalid choice: 'xml'"),
        (["--output", "."], "--output: '.': accepted: the path of a file"),
        (["--output", ""], "--output: '': accepted: the path of a file"),
    ],
)
def test_bad_use_is_told_with_its_value_and_what_is_accepted(
    arguments: list[str], problem: str, tmp_path: Path
) -> None:
    env = variables("mongodb://127.0.0.1:1", "crypto")
    done = subprocess.run(command(*arguments), env=env, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert problem in done.stderr


def test_a_file_is_written_whole(export: Export) -> None:
    export.events.insert_many(stored(SLOT + number * QUARTER) for number in range(1000))
    assert export("--output", "events.ndjson") == b""
    assert (export.folder / "events.ndjson").read_bytes() == export()
    (export.folder / "link").symlink_to("events.ndjson")
    export("--output", "link", "--until", text(SLOT))
    assert (export.folder / "events.ndjson").read_bytes() == b""
    assert sorted(path.name for path in export.folder.iterdir()) == ["events.ndjson", "link"]


def test_a_device_is_written_to_and_not_replaced(export: Export) -> None:
    export.events.insert_one(stored(SLOT))
    os.mkfifo(export.folder / "pipe")
    with guard.spawn(["cat", "pipe"], cwd=export.folder, stdout=subprocess.PIPE) as reader:
        export("--output", "pipe")
        read, _ = reader.communicate(timeout=30)
    guard.forget(reader)
    assert ids(read) == [identity("crypto", SLOT)]
    assert [path.is_fifo() for path in export.folder.iterdir()] == [True]


def test_a_file_that_cannot_be_written_is_told(export: Export) -> None:
    done = export.run("--output", "no/such/folder.ndjson")
    assert (done.returncode, done.stdout) == (1, b"")
    assert done.stderr == b"no/such/folder.ndjson: No such file or directory\n"


def test_a_user_who_may_not_read_is_told_at_once_and_the_file_stays_as_it_was(export: Export) -> None:
    (export.folder / "events.ndjson").write_text("of yesterday")
    url = export.env["MONGO_URL"].replace("://", "://nobody:x@")
    done = export.run("--output", "events.ndjson", MONGO_URL=url)
    assert done.returncode == 3
    assert b"MongoDB refuses: Authentication failed" in done.stderr
    assert [path.read_text() for path in export.folder.iterdir()] == ["of yesterday"]


@pytest.mark.parametrize(("count", "reader"), [(5000, "head -n 1"), (1, "true")], ids=["in the middle", "at the end"])
def test_a_reader_that_wants_no_more_gets_no_message(export: Export, count: int, reader: str) -> None:
    export.events.insert_many(stored(SLOT + number * QUARTER) for number in range(count))
    pipe = f"{sys.executable} -m stack export | {reader}"
    done = subprocess.run(["sh", "-c", pipe], env=export.env, cwd=export.folder, capture_output=True, check=False)
    assert ids(done.stdout) == [identity("crypto", SLOT)][: count - 1]
    assert done.stderr == b""


def peak_kilobytes(export: Export) -> int:
    """How much memory an export to nowhere took."""
    script = "import resource, subprocess, sys; subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL, check=True);"
    script += "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
    args = [sys.executable, "-c", script, *command()]
    done = subprocess.run(args, env=export.env, cwd=export.folder, capture_output=True, check=True)
    return int(done.stdout)


def test_its_memory_does_not_grow_with_what_it_exports(export: Export) -> None:
    few = peak_kilobytes(export)
    export.events.insert_many(stored(SLOT + number * QUARTER, x="x" * 5000) for number in range(20_000))
    assert peak_kilobytes(export) - few < 40_000  # of 100 MB


@pytest.fixture
def own_mongod() -> Iterator[Mongod]:
    with Mongod() as server:
        yield server


def test_an_export_goes_on_behind_its_last_event_when_mongodb_was_away(own_mongod: Mongod, tmp_path: Path) -> None:
    # So many of each time that no batch of 500 ends with the last one of a time.
    events = [(f"feed-{number % 499:03}", SLOT + number // 499 * QUARTER) for number in range(5000)]
    with MongoClient[dict[str, Any]](own_mongod.url, directConnection=True) as client:
        client.crypto.events.insert_many(stored(slot, feed, x="x" * 1000) for feed, slot in events)
    with guard.spawn(
        command(), env=variables(own_mongod.url, "crypto"), cwd=tmp_path, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout
        lines = [*itertools.islice(process.stdout, 100)]
        own_mongod.kill(signal.SIGKILL)
        own_mongod.start()
        lines += process.stdout
    guard.forget(process)
    assert process.returncode == 0
    assert ids(b"".join(lines)) == [identity(*event) for event in events]


def test_mongodb_that_does_not_come_back_is_told(tmp_path: Path) -> None:
    """It waits for a minute, which is too long here."""
    script = "from stack.export import export; export.OUTAGE_SECONDS = 0.5; export.QUERY_SECONDS = 0.5;"
    script += "import sys; from stack.__main__ import main; sys.exit(main(['export']))"
    args, env = [sys.executable, "-c", script], variables("mongodb://127.0.0.1:1", "crypto")
    done = subprocess.run(args, env=env, cwd=tmp_path, capture_output=True, check=False, timeout=60)
    assert (done.returncode, done.stdout) == (3, b"")
    assert re.search(rb"^MongoDB: .*127.0.0.1:1.*: verify that MongoDB is running", done.stderr)
