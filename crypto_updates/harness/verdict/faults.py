"""The items with a fault: after it, the server must live and react to new events."""

import signal
import time

from crypto_updates.harness.verdict.item import FailedError, Flaw, SkippedError
from crypto_updates.harness.verdict.ordinary import START_SECONDS
from crypto_updates.harness.verdict.trial import Trial
from crypto_updates.harness.verdict.watch import Mark

LATE_SECONDS = 5.0
STOP_SECONDS = 10.0
# For what a client does by itself after a fault: it reconnects, or notices that its connection is dead.
_NOTICE_SECONDS = 60.0
_BLINK_SECONDS = 1.0
_SLOW_SECONDS = 0.3
_HAND_SECONDS = 0.5
_IN_HAND = 3
# The process has ended, and MongoDB may still be at work on what it sent.
_LATE_WRITE_SECONDS = 2.0
# The default of JetStream's `ack_wait` is 30 s.
_REDELIVERY_SECONDS = 35.0
_HTML = b"<!DOCTYPE html><title>Please wait</title>"


def starts_before_nats(trial: Trial) -> str:
    trial.end()
    trial.crypto.nats.stop()
    trial.launch()
    trial.rest(LATE_SECONDS)
    trial.crypto.nats.start()
    return trial.recover("NATS came")


def starts_before_mongo(trial: Trial) -> str:
    trial.end()
    trial.crypto.mongo.stop()
    trial.launch()
    trial.rest(LATE_SECONDS)
    trial.crypto.mongo.start()
    return trial.recover("MongoDB came")


def nats_down(seconds: float, trial: Trial) -> str:
    trial.crypto.nats.kill()
    trial.rest(seconds)
    trial.crypto.nats.restart()
    return trial.recover("NATS was back")


def nats_frozen(seconds: float, trial: Trial) -> str:
    with trial.crypto.nats.freeze():
        trial.rest(seconds)
    return trial.recover("NATS went on")


def link_cut(trial: Trial) -> str:
    with trial.crypto.link.cut():
        trial.rest(_BLINK_SECONDS)
    return trial.recover("the link was back")


def link_reset(trial: Trial) -> str:
    with trial.crypto.link.reset():
        trial.rest(_BLINK_SECONDS)
    return trial.recover("the link was back")


def link_half_open(trial: Trial) -> str:
    """Only the connections that stand now are dead; new ones work."""
    with trial.crypto.link.half_open():
        trial.halt.until(lambda: not trial.subscribed(), _BLINK_SECONDS)
    return trial.recover("its connection died", _NOTICE_SECONDS)


def link_slow(trial: Trial) -> str:
    with trial.crypto.link.slow(_SLOW_SECONDS):
        trial.rest(_BLINK_SECONDS)
        if not trial.wait(trial.subscribed, _BLINK_SECONDS):
            raise FailedError(Flaw.DEAF, "no longer subscribed")
        seconds = trial.react()
    return f"reacted after {seconds:.1f} s"


def mongo_down(seconds: float, trial: Trial) -> str:
    trial.crypto.mongo.kill()
    trial.send()
    trial.rest(seconds)
    trial.crypto.mongo.restart()
    return trial.recover("MongoDB was back")


def mongo_frozen(seconds: float, trial: Trial) -> str:
    with trial.crypto.mongo.freeze():
        trial.send()
        trial.rest(seconds)
    return trial.recover("MongoDB went on")


def market_answers(status: int, trial: Trial) -> str:
    _needs_market(trial)
    trial.crypto.market.status = status
    return _market_back(trial, _BLINK_SECONDS)


def market_answers_html(trial: Trial) -> str:
    _needs_market(trial)
    trial.crypto.market.body = _HTML
    return _market_back(trial, _BLINK_SECONDS)


def market_is_silent(seconds: float, trial: Trial) -> str:
    _needs_market(trial)
    trial.crypto.market.delay = None
    return _market_back(trial, seconds)


def _needs_market(trial: Trial) -> None:
    if not trial.known.asks_market:
        raise SkippedError("it does not ask the market")


def _market_back(trial: Trial, seconds: float) -> str:
    mark = trial.watch.mark()
    trial.send()
    trial.rest(seconds)
    # For the owner to judge: without prices, some servers store nothing and others what they have.
    meanwhile = "; it had reacted before" if trial.watch.reacted(mark) else ""
    trial.crypto.market.reset()
    return trial.recover("the market was back") + meanwhile


def stops_on_sigterm(trial: Trial) -> str:
    mark = trial.watch.mark()
    trial.crypto.market.delay = _HAND_SECONDS
    trial.send_in_hand(_IN_HAND)
    begin = time.monotonic()
    trial.app.kill(signal.SIGTERM)
    if not trial.halt.until(lambda: trial.app.status is not None, STOP_SECONDS):
        raise FailedError(Flaw.LINGERS, f"still running {STOP_SECONDS:.0f} s after SIGTERM")
    seconds = time.monotonic() - begin
    trial.app.process.wait()  # as in a container, nothing outlives the first process
    trial.crypto.market.reset()
    wanted = _IN_HAND if trial.watch.countable else 1
    done = trial.count(mark, wanted, _LATE_WRITE_SECONDS)
    if done < wanted:
        done = _done_by_the_next_run(trial, mark, wanted)
    if done < wanted:
        raise FailedError(Flaw.LOSES, f"ended after {seconds:.1f} s; of {wanted} events in hand, {done} were done")
    return f"ended after {seconds:.1f} s, with {wanted} of {wanted} events in hand done"


def _done_by_the_next_run(trial: Trial, mark: Mark, wanted: int) -> int:
    """JetStream gives what was not acknowledged to the next run. What a run does at its start anyway does not count."""
    trial.start(START_SECONDS)
    done = trial.count(mark, wanted, _REDELIVERY_SECONDS if trial.uses_jetstream() else _LATE_WRITE_SECONDS)
    if not done:
        return 0
    trial.end()
    mark = trial.watch.mark()
    trial.start(START_SECONDS)
    return done - trial.count(mark, 1, _LATE_WRITE_SECONDS)


def starts_again(trial: Trial) -> str:
    trial.end()
    seconds = trial.start(START_SECONDS)
    trial.react()
    return f"subscribed {seconds:.1f} s after its start"
