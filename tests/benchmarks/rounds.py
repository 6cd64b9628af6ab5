"""The rounds of a benchmark, each on servers of its own: the medians of those that nothing else has disturbed."""

import os
import statistics
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Self

from stack import console
from tests.benchmarks.table import Figures, table

# A round is disturbed if what is not ours took more than this share of all cores meanwhile. Some of it is the kernel's
# work for our servers.
DISTURBED = 0.15
# Of a benchmark at most so many rounds are repeated.
REPEATED = 1


class Cpu(NamedTuple):
    """Seconds of all cores until now: all of them, the busy or stolen ones, and those of ours."""

    whole: float
    busy: float
    ours: float

    @classmethod
    def now(cls) -> Self:
        """Ours are this process and its children that have ended, and theirs."""
        import psutil  # noqa: PLC0415 - the tests of this file go without

        cores = psutil.cpu_times()._asdict()
        # Linux counts the time of guests as that of users as well.
        whole = sum(seconds for kind, seconds in cores.items() if not kind.startswith("guest"))
        return cls(whole, whole - cores["idle"] - cores.get("iowait", 0.0), sum(os.times()[:4]))

    def others(self, before: Self) -> float:
        """The share of all cores that was not ours since then."""
        return max((self.busy - before.busy) - (self.ours - before.ours), 0.0) / (self.whole - before.whole)


def take(
    name: str,
    count: int,
    once: Callable[[int], Figures],
    *,
    repeated: int = REPEATED,
    cpu: Callable[[], Cpu] = Cpu.now,
) -> tuple[Figures, Figures]:
    """The medians of so many rounds, and how they went. If each round was disturbed, all of them count.

    `once`: measures, on new servers; gets the round's number. `repeated`: rounds that may be repeated.
    """
    found, others = list[Figures](), list[float]()
    load, calm = os.getloadavg()[0], list[Figures]()
    while len(calm) < count and len(found) < count + repeated:
        before = cpu()
        found.append(once(len(found)))
        others.append(cpu().others(before))
        console.say(f"{name}, round {len(found)}: other programs had {100 * others[-1]:.0f} % of the CPU")
        calm = [figures for figures, share in zip(found, others, strict=True) if share <= DISTURBED]
    kept = calm or found
    counted = sorted(others)[: len(kept)]
    return medians(kept), {
        "rounds": len(kept),
        "left out": len(found) - len(kept),
        "others": counted[-1],
        "load": load,
    }


def medians(rounds: Sequence[Any]) -> Any:  # noqa: ANN401 - figures, or one of them
    """The median of each measured figure; counts, which are whole numbers, are added up, so that a loss is seen."""
    if isinstance(rounds[0], dict):
        names = dict.fromkeys(name for figures in rounds for name in figures)
        return {name: medians([figures[name] for figures in rounds if name in figures]) for name in names}
    return sum(rounds) if isinstance(rounds[0], int) else statistics.median(rounds)


def section(figures: Figures) -> list[str]:
    """What docs/benchmarks.md says of it."""
    rows = [
        (
            name,
            f"{of['rounds']}" + (", each of them disturbed" if of["others"] > DISTURBED else ""),
            f"{of['left out']}",
            f"{100 * of['others']:.0f} %",
            f"{of['load']:.1f}",
        )
        for name, of in figures.items()
    ]
    return [
        (
            "Each figure is the median of the benchmark's rounds, each on servers of its own. A round is disturbed if"
            f" other programs, the kernel, or other guests of the host took more than {100 * DISTURBED:.0f} % of all"
            f" cores meanwhile. It is left out, and repeated: {REPEATED} of a benchmark at most, none late in a run."
        ),
        table(("", "rounds", "left out", "CPU of others, at most", "load before"), rows),
    ]
