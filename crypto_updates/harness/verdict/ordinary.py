"""The items without a fault: it subscribes, reacts, loses nothing, stores nothing twice, and takes only events."""

import time

from crypto_updates.clock.slots import percentile
from crypto_updates.harness import monitor
from crypto_updates.harness.verdict import advice
from crypto_updates.harness.verdict.item import FailedError, Flaw, SkippedError
from crypto_updates.harness.verdict.lesson import learn
from crypto_updates.harness.verdict.trial import Trial
from crypto_updates.harness.verdict.watch import Mark

START_SECONDS = 10.0
# A server that is late can still be judged.
_MORE_SECONDS = 20.0
# One that is not connected by then may have the addresses of NATS and MongoDB in its code.
_USUAL_SECONDS = 3.0
_LOOK_SECONDS = 0.05
EVENTS = 20
BURST = 200
# A client library may end the subscription before the process ends.
_END_SECONDS = 1.0


def subscribes(trial: Trial) -> str:
    """The item that every verdict begins with."""
    begin = time.monotonic()
    try:
        trial.launch()
        if not trial.wait(trial.connected, _USUAL_SECONDS, every=_LOOK_SECONDS):
            trial.open_usual_ports()
        trial.await_subscription(START_SECONDS, "its start", begin)
    except FailedError as error:
        is_slow = error.flaw == Flaw.DEAF and not trial.connected()
        if is_slow and trial.wait(trial.subscribed, _MORE_SECONDS, every=_LOOK_SECONDS):
            raise FailedError(Flaw.LATE, f"subscribed after {time.monotonic() - begin:.1f} s") from error
        raise
    seconds, known = time.monotonic() - begin, trial.known
    for client in monitor.clients(trial.crypto.nats):
        known.library, known.version = client.lang, client.version
    return f"after {seconds:.1f} s, with {advice.LIBRARIES.get(known.library, known.library)} {known.version}"


def reacts(trial: Trial) -> str:
    """The item from which the other ones know what a reaction is."""
    found = sorted(learn(trial, EVENTS))
    p50, p95 = (percentile(found, percent) or 0.0 for percent in (50, 95))
    return f"p50 {p50 * 1000:.0f} ms, p95 {p95 * 1000:.0f} ms of {len(found)}"


def takes_a_burst(trial: Trial) -> str:
    if not trial.watch.countable:
        return _reacts_to_the_latest(trial)
    # While this machine is busy, a request of the server to the market may be late: then a second burst decides.
    for _ in range(2 if trial.known.asks_market else 1):
        mark = _burst(trial)
        begin = time.monotonic()
        found = trial.count(mark, BURST)
        trial.lives()
        if trial.is_behind:
            return "none lost after a minute, and still at work"
        if found >= BURST:
            return f"{BURST} of {BURST}, {time.monotonic() - begin:.1f} s after the last was published"
    raise FailedError(Flaw.LOSES, f"reacted to {found} of {BURST}")


def _reacts_to_the_latest(trial: Trial) -> str:
    if not trial.count(_burst(trial), 1):
        raise FailedError(Flaw.IDLE, f"no reaction to {BURST} events")
    trial.settle()
    trial.react()
    return "reacts; how many events it took cannot be counted"


def _burst(trial: Trial) -> Mark:
    mark = trial.watch.mark()
    for _ in range(BURST):
        trial.send()
    return mark


def ignores_a_copy(trial: Trial) -> str:
    if not trial.candidate.has_identity:
        raise SkippedError("the body carries no identity, so a copy is another event")
    trial.react()
    trial.settle()
    before = trial.watch.contents()
    trial.send_again()
    trial.rest(trial.known.look)
    trial.settle()
    if trial.watch.contents() != before:
        raise FailedError(Flaw.REPEATS, "a second copy changed what is stored")
    mark = trial.watch.mark()
    trial.send(copies=2)
    trial.rest(trial.known.look)
    trial.settle()
    if trial.watch.events(mark) > 1:
        raise FailedError(Flaw.REPEATS, "of two copies at once, both were stored")
    trial.react()
    return "nothing changed, and the next event was reacted to"


def refuses(body: bytes, trial: Trial) -> str:
    if body == trial.candidate.event(""):
        raise SkippedError("this is the body that the server waits for")
    mark = trial.watch.mark()
    trial.send_body(body)
    trial.rest(trial.known.look)
    if trial.watch.reacted(mark):
        raise FailedError(Flaw.ACCEPTS, "reacted to it as to an event")
    trial.watch.pass_over(mark)
    if not trial.wait(trial.subscribed, _END_SECONDS):
        raise FailedError(Flaw.DEAF, "the process lives, and is no longer subscribed")
    seconds = trial.react()
    trial.settle()
    if trial.watch.events(mark) > 1:
        raise FailedError(Flaw.ACCEPTS, "reacted to it, too, when the next good event came")
    return f"no reaction; the next good event after {seconds * 1000:.0f} ms"
