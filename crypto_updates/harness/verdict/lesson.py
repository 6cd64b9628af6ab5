"""What a reaction is, learned from some events that come one at a time."""

import time

from crypto_updates.harness.verdict.trial import REACTION_SECONDS, Trial

# For what it writes at its start. Some servers never rest.
_START_SECONDS = 3.0
_NOISE_SECONDS = 1.0
_USUAL_SECONDS = 3.0
# The writes of one event come one after another, for example one for each coin.
_SPREAD_SECONDS = 1.0
_SHORTEST_QUIET_SECONDS = 0.1
_SHORTEST_LOOK_SECONDS = 0.5
# A server that takes long for an event is judged by fewer of them.
_MAX_SECONDS = 20.0
_LOOK_SECONDS = 0.01


def learn(trial: Trial, events: int) -> list[float]:
    """Have the watch learn it, and return the seconds until each reaction. Raises FailedError."""
    trial.settle(_START_SECONDS)
    _find_noise(trial)
    _first_reaction(trial)
    trial.known.quiet = max(2 * _spread(trial), _SHORTEST_QUIET_SECONDS)
    marks, seconds = [trial.watch.mark()], list[float]()
    end = time.monotonic() + _MAX_SECONDS
    while len(seconds) < events and time.monotonic() < end:
        seconds.append(_reaction(trial))
        trial.settle()
        marks.append(trial.watch.mark())
    trial.watch.learn(marks)
    trial.known.asks_market = bool(trial.crypto.market.requests)
    trial.known.look = min(max(1.5 * max(seconds), _SHORTEST_LOOK_SECONDS), REACTION_SECONDS)
    return seconds


def _find_noise(trial: Trial) -> None:
    mark = trial.watch.mark()
    trial.rest(_NOISE_SECONDS)
    trial.watch.ignore(mark)


def _reaction(trial: Trial) -> float:
    """Send an event, and return the seconds until anything has changed."""
    before, begin = trial.watch.activity(), time.monotonic()
    trial.send()
    if not trial.wait(lambda: trial.watch.activity() != before, REACTION_SECONDS, every=0.001):
        raise trial.idle(REACTION_SECONDS)
    return time.monotonic() - begin


def _first_reaction(trial: Trial) -> None:
    """The first one may do more than later ones do, and may need MongoDB at its usual port."""
    before = trial.watch.activity()
    trial.send()
    if not trial.wait(lambda: trial.watch.activity() != before, _USUAL_SECONDS):
        trial.open_usual_ports()
        _reaction(trial)


def _spread(trial: Trial) -> float:
    """The seconds between the first change, which was just seen, and the last one of the same event."""
    begin = last = time.monotonic()
    seen = trial.watch.activity()
    while time.monotonic() - begin < _SPREAD_SECONDS:
        trial.rest(_LOOK_SECONDS)
        if (now := trial.watch.activity()) != seen:
            seen, last = now, time.monotonic()
    return last - begin
