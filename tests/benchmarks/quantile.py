"""Quantiles of a series, as all benchmarks tell them."""

import statistics
from collections.abc import Sequence


def p50(series: Sequence[float]) -> float:
    return statistics.median(series)


def p99(series: Sequence[float]) -> float:
    return statistics.quantiles(series, n=100, method="inclusive")[98]
