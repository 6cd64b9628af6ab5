"""The plots of docs/benchmarks.md."""

from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib import pyplot as plt

mpl.use("svg")
# The same figures give the same file.
mpl.rcParams["svg.hashsalt"] = "crypto-updates"
OURS, OTHERS = "#2563eb", "#94a3b8"
MILLISECONDS = 1000
METADATA = {"Date": None}


def draw(figures: dict[str, Any], folder: Path) -> None:
    drain(figures["drain"], folder / "benchmarks-drain.svg")
    punctuality(figures["punctuality"], folder / "benchmarks-punctuality.svg")
    coins(figures["growth"]["coins"], folder / "benchmarks-coins.svg")


def drain(figures: dict[str, dict[str, float]], path: Path) -> None:
    paces = {name: of["pace"] for name, of in figures.items()}
    names = sorted(paces, key=lambda name: paces[name])
    figure, axes = plt.subplots(figsize=(7, 2.6), layout="constrained")
    bars = axes.barh(
        names, [paces[name] for name in names], color=[OURS if name == "api_stub" else OTHERS for name in names]
    )
    axes.bar_label(bars, fmt="{:,.0f}", padding=4)
    axes.margins(x=0.15)
    axes.set_xlabel("events a second")
    figure.savefig(path, metadata=METADATA)
    plt.close(figure)


def punctuality(figures: dict[str, dict[str, dict[str, float]]], path: Path) -> None:
    loads, names = list(figures), list(figures["idle"])
    figure, axes = plt.subplots(figsize=(7, 2.6), layout="constrained")
    for place, load in enumerate(loads):
        rows = [number + (place - 0.5) * 0.35 for number in range(len(names))]
        late = [figures[load][name]["p99"] * MILLISECONDS for name in names]
        bars = axes.barh(rows, late, 0.33, label=load, color=(OURS, OTHERS)[place])
        axes.bar_label(bars, fmt="{:.1f}", padding=4)
    axes.set_yticks(range(len(names)), names)
    axes.set_xscale("log")
    axes.margins(x=0.15)
    axes.set_xlabel("milliseconds late (p99)")
    axes.legend()
    figure.savefig(path, metadata=METADATA)
    plt.close(figure)


def coins(seconds: dict[str, float], path: Path) -> None:
    figure, axes = plt.subplots(figsize=(7, 2.6), layout="constrained")
    axes.loglog([int(count) for count in seconds], [cost * MILLISECONDS for cost in seconds.values()], "o-", color=OURS)
    axes.set_xlabel("coins")
    axes.set_ylabel("milliseconds a slot")
    figure.savefig(path, metadata=METADATA)
    plt.close(figure)
