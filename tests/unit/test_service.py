"""A service's process: its exit status, what signals do, and how it finishes its current work."""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from pathlib import Path

import pytest

from crypto_updates.local import ports
from crypto_updates.service import errors, lifecycle
from tests.support import ROOT

# The argument says what the service does once it runs.
SERVICE = """
import asyncio, os, signal, sys, time
from crypto_updates.service import errors, lifecycle
from crypto_updates.bus.config import BusSettings

async def run(settings):
    print("running", flush=True)
    if sys.argv[1].isdecimal():
        return int(sys.argv[1])
    await globals()[sys.argv[1]]()

async def work():
    await lifecycle.finish(flush())

async def flush():
    try:
        await asyncio.sleep(60)
    finally:
        print("flushed", flush=True)

async def flush_twice_told():
    async def flush():
        signal.raise_signal(signal.SIGTERM)
        await asyncio.sleep(0.05)
        print("flushed", flush=True)
    try:
        await asyncio.sleep(60)
    finally:
        await flush()

async def many_steps():
    try:
        await lifecycle.finish(asyncio.sleep(60))
    finally:
        for _ in range(100):
            await asyncio.wait([asyncio.ensure_future(asyncio.sleep(60))], timeout=lifecycle.left(0.2))
        print("all steps ended", flush=True)

async def task_that_goes_on():
    async def stubborn():
        while True:
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                pass
    task = asyncio.create_task(stubborn())
    try:
        await asyncio.sleep(60)
    finally:
        await lifecycle.end(task)

async def thread_that_goes_on():
    await asyncio.to_thread(time.sleep, 60)

lifecycle.GRACE_SECONDS, lifecycle.STOP_SECONDS = 0.2, 0.6
lifecycle.EXIT_SECONDS = float(os.environ.get("EXIT_SECONDS", "30"))
sys.exit(lifecycle.main(BusSettings, run))
"""


@contextlib.contextmanager
def started(folder: Path, *command: str, **env: str) -> Iterator[subprocess.Popen[str]]:
    """Run Python in an own folder and environment, so that no `.env` is read, and end it with the context."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "SYSTEMROOT") if name in os.environ}
    with subprocess.Popen(
        [sys.executable, *command],
        cwd=folder,
        env={**kept, "PYTHONPATH": str(ROOT), **env},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def test_a_bad_configuration_exits_2_with_a_line_for_each_value_on_stderr(tmp_path: Path) -> None:
    with started(
        tmp_path, "-m", "worker", LOG_LEVEL="loud", SCHEDULE="soon", NATS_URL="nats://localhost:4222"
    ) as process:
        out, err = process.communicate(timeout=20)
    assert (process.returncode, out) == (lifecycle.BAD_CONFIG, "")
    first, second = err.splitlines()
    assert first == "LOG_LEVEL=loud: accepted: debug, info, warning or error"
    assert second.startswith("SCHEDULE=soon: ")


@pytest.mark.parametrize(
    ("module", "environ"),
    [
        (
            "worker",
            {"MARKET_SOURCE": "coingecko", "ALL_PROXY": "socks5://127.0.0.1:1", "NO_PROXY": "localhost,::1,[::1]"},
        ),
        ("worker", {"MARKET_SOURCE": "simulated", "ALL_PROXY": "x://", "SSL_CERT_FILE": "/no/such.pem"}),
        ("worker", {"MARKET_SOURCE": "none", "PROMETHEUS_MULTIPROC_DIR": "/no/such"}),
        ("api_stub", {"PROMETHEUS_MULTIPROC_DIR": "/no/such", "WEB_CONCURRENCY": "many"}),
    ],
)
def test_what_libraries_read_by_themselves_stops_no_service(
    module: str, environ: dict[str, str], tmp_path: Path
) -> None:
    health = {"HTTP_PORT": str(ports.free()), "HEALTH_PORT": str(ports.free()), "NATS_URL": "nats://127.0.0.1:1"}
    mongo = {"MONGO_URL": "mongodb://127.0.0.1:1"}
    with started(tmp_path, "-u", "-m", module, **health, **mongo, **environ) as process:
        assert process.stdout is not None
        assert any("CONNECTION_REFUSED" in line for line in process.stdout)
        process.terminate()
        _, err = process.communicate(timeout=20)
    assert (process.returncode, err) == (0, "")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_work_in_hand_and_exits_0(number: signal.Signals, tmp_path: Path) -> None:
    with started(tmp_path, "-c", SERVICE, "work") as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "running\n"
        process.send_signal(number)
        out, err = process.communicate(timeout=20)
    assert (process.returncode, out, err) == (0, "flushed\n", "")


def test_a_variable_that_looks_like_ours_is_warned_about_once(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("LOG_FMT=json\nNATS_TOKEN=$NOPE\n")
    with started(tmp_path, "-c", SERVICE, "0", SUBJECT="x", LOG_LEVEL="warning") as process:
        out, err = process.communicate(timeout=20)
    *warnings, last = out.splitlines()
    assert (process.returncode, last, err) == (0, "running", "")
    assert [line.partition(" is not ")[0] for line in warnings] == [
        "[CONFIG] `.env` line 2: $NOPE",
        "[CONFIG] LOG_FMT",
        "[CONFIG] SUBJECT",
    ]
    assert all(line.endswith(" (warning)") for line in warnings)


def test_a_one_shot_command_keeps_its_warnings_out_of_its_output(tmp_path: Path) -> None:
    service = SERVICE.replace("run))", "run, lasting=False))")
    with started(tmp_path, "-c", service, "0", SUBJECT="x") as process:
        out, err = process.communicate(timeout=20)
    assert (out, err.partition(":")[0]) == ("running\n", "[CONFIG] SUBJECT is not read by Crypto Updates")


def test_a_second_signal_takes_no_time_from_the_work(tmp_path: Path) -> None:
    with started(tmp_path, "-c", SERVICE, "flush_twice_told") as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "running\n"
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=20)
    assert (process.returncode, out, err) == (0, "flushed\n", "")


@pytest.mark.parametrize("what", ["many_steps", "task_that_goes_on", "thread_that_goes_on"])
def test_a_stop_has_one_budget_whatever_does_not_end(what: str, tmp_path: Path) -> None:
    """Steps of 20 s in all with a budget of 0.6 s, and what ignores its cancellation for 60 s with 1.2 s."""
    # Steps share the budget. Only what does not keep to it is ended from outside.
    keeps_to_it = what == "many_steps"
    with started(tmp_path, "-c", SERVICE, what, EXIT_SECONDS="30" if keeps_to_it else "1.2") as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "running\n"
        begin = time.monotonic()
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=20)
    assert (process.returncode, err) == (0, "")
    assert time.monotonic() - begin < 10
    assert out == ("all steps ended\n" if keeps_to_it else "")


@pytest.mark.parametrize("error", [None, ValueError])
async def test_a_stop_that_the_work_forgets_is_remembered(error: type[Exception] | None) -> None:
    async def forgetful() -> None:
        with lifecycle.remembering_stop():
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(60)
            if error:
                raise error
        pytest.fail("it goes on")

    task = asyncio.ensure_future(forgetful())
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()


async def test_a_task_that_was_stopped_before_may_tidy_up() -> None:
    async def tidy() -> str:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(60)
        with lifecycle.remembering_stop():
            await asyncio.sleep(0)
        return "tidied up"

    task = asyncio.ensure_future(tidy())
    await asyncio.sleep(0)
    task.cancel()
    assert await task == "tidied up"


async def test_a_generator_that_was_left_halfway_is_closed_by_a_task_that_nobody_stopped() -> None:
    async def numbers() -> AsyncGenerator[int, None]:
        with lifecycle.remembering_stop():
            yield 1
            yield 2

    async def leaves_halfway(found: AsyncIterator[int]) -> None:
        await anext(found)
        await asyncio.sleep(60)

    found = numbers()
    task = asyncio.ensure_future(leaves_halfway(found))
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])
    await found.aclose()


def test_the_budget_and_what_python_needs_are_less_than_ten_seconds() -> None:
    assert 2 * lifecycle.GRACE_SECONDS < lifecycle.STOP_SECONDS < lifecycle.EXIT_SECONDS < 10


@pytest.mark.parametrize("status", [0, 1])
def test_the_exit_status_is_that_of_the_run(status: int, tmp_path: Path) -> None:
    with started(tmp_path, "-c", SERVICE, str(status)) as process:
        out, err = process.communicate(timeout=20)
    assert (process.returncode, out, err) == (status, "running\n", "")


async def test_work_in_hand_is_finished_when_the_service_is_cancelled() -> None:
    may_end, ended = asyncio.Event(), asyncio.Event()

    async def work() -> None:
        await may_end.wait()
        ended.set()

    task = asyncio.create_task(lifecycle.finish(work()))
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.sleep(0)
    may_end.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended.is_set()


async def test_work_that_does_not_end_is_given_up_after_the_grace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lifecycle, "GRACE_SECONDS", 0.05)
    stopped = asyncio.Event()

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            stopped.set()

    began = time.monotonic()
    task = asyncio.create_task(lifecycle.finish(work()))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert time.monotonic() - began >= 0.05
    await asyncio.wait_for(stopped.wait(), 5)


async def test_a_task_that_a_library_ends_is_started_again(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(lifecycle, "KEEP_AGAIN_SECONDS", 0.0)
    runs, third = [], asyncio.Event()

    async def work() -> None:
        runs.append(len(runs))
        if len(runs) == 1:
            future = asyncio.get_running_loop().create_future()
            future.cancel()
            await future
        if len(runs) == 3:
            third.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(lifecycle.keep(work))
    await asyncio.wait_for(third.wait(), 5)
    await asyncio.wait_for(lifecycle.end(task), 5)
    assert (task.cancelled(), runs) == (True, [0, 1, 2])
    assert caplog.text.count("ended without a reason; starting it again") == 2


async def test_what_a_kept_task_raises_is_passed_on() -> None:
    async def work() -> None:
        raise LookupError

    with pytest.raises(LookupError):
        await lifecycle.keep(work)


async def test_what_the_work_raises_is_passed_on() -> None:
    async def work() -> None:
        raise LookupError

    with pytest.raises(LookupError):
        await lifecycle.finish(work())


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (TimeoutError(), "TimeoutError"),
        (ValueError("bad"), "bad"),
        (errors.CryptoUpdatesError(), "Crypto Updates failed."),
    ],
)
def test_the_text_of_an_exception_is_never_empty(error: Exception, text: str) -> None:
    assert errors.text(error) == text


@pytest.mark.parametrize("program", ["api_stub", "worker", "tests"])
@pytest.mark.parametrize(("argument", "status"), [("--help", 0), ("--nonsense", 2), ("nonsense", 2)])
def test_a_program_shows_its_usage_and_takes_no_unknown_argument(program: str, argument: str, status: int) -> None:
    command = [sys.executable, "-m", program, argument]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    told = done.stderr if status else done.stdout
    assert (done.returncode, told.partition("\n")[0].partition(" [")[0]) == (status, f"usage: python -m {program}")
