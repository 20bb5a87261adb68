"""Verdicts on the samples of a run."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bench.soak.watch import Sample

WARM_UP: Final = 0.2
"""Share of a run after which the process must have reached its final size; at least nine minutes, or half the run."""

LONG: Final = 900.0
"""Minimum seconds of samples for a meaningful slope per hour."""


def warm(samples: Sequence[Sample]) -> list[Sample]:
    """The samples after the warm-up."""
    begins = max(WARM_UP * samples[-1].at, min(540.0, samples[-1].at / 2))
    return [sample for sample in samples if sample.at >= begins]


def slope(samples: Sequence[Sample]) -> float:
    """Relative memory growth per hour: the regression line through the medians of twenty parts of the samples."""
    size = max(1, len(samples) // 20)
    parts = [samples[start : start + size] for start in range(0, len(samples) - size + 1, size)]
    hours = [statistics.median(sample.at for sample in part) / 3_600 for part in parts]
    memory = [statistics.median(sample.memory for sample in part) for part in parts]
    growth, start = statistics.linear_regression(hours, memory)
    return growth / (start + growth * hours[0])


def rise(samples: Sequence[Sample]) -> float:
    """Relative memory growth from the first to the last third."""
    third = max(1, len(samples) // 3)
    first = statistics.median(sample.memory for sample in samples[:third])
    return statistics.median(sample.memory for sample in samples[-third:]) / first - 1


def creep(values: Sequence[int]) -> int:
    """By how much the minimum of a number has risen: leaked resources stay open."""
    third = max(1, len(values) // 3)
    return min(values[-third:]) - min(values[:third])


def percentile(values: Sequence[float], share: float) -> float:
    """The value below which this share of all values lies."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]
