import signal

import pytest

from tests.chaos.member import YOUNG, Member
from tests.support import eventually


class Dying:
    """It takes a signal, and ends when the test says so."""

    def __init__(self) -> None:
        self.status: int | None = None
        self.signals: list[signal.Signals] = []
        self.restarts = 0

    def restart(self) -> None:
        self.status = None
        self.restarts += 1

    def kill(self, sig: signal.Signals = signal.SIGKILL) -> None:
        self.signals.append(sig)

    def stop(self, patience: float = 10.0) -> int:
        raise NotImplementedError


@pytest.mark.timeout(10)
@pytest.mark.parametrize(
    ("faults", "status", "ends"),
    [
        (["terminate"], 0, [0]),
        (["kill"], -9, []),
        (["kill", "terminate"], -9, []),
        (["terminate", "kill"], -9, []),
    ],
)
def test_only_an_end_by_sigterm_alone_tells_its_status(faults: list[str], status: int, ends: list[int]) -> None:
    process = Dying()
    with Member("api_stub1", "api_stub", process) as member:
        member.ready -= 2 * YOUNG
        for fault in faults:
            getattr(member, fault)()
        process.status = status
        assert eventually(lambda: process.restarts == 1 and member.alive, 5)
        assert member.ends == ends
        assert member.await_end(1)


@pytest.mark.timeout(10)
def test_what_is_being_started_again_is_not_terminated() -> None:
    process = Dying()
    process.status = -9
    member = Member("api_stub1", "api_stub", process)
    member.terminate()
    with member:
        assert member.await_end(5)
    assert process.signals == []
