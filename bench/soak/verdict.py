"""What the samples of a run say."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bench.soak.watch import Sample

WARM_UP: Final = 0.2
"""The share of a run after which the process has to be as large as it will be; nine minutes at least, or half of it."""

LONG: Final = 900.0
"""Seconds of samples from which on a slope by the hour means something."""


def warm(samples: Sequence[Sample]) -> list[Sample]:
    """The samples after the warm-up."""
    begins = max(WARM_UP * samples[-1].at, min(540.0, samples[-1].at / 2))
    return [sample for sample in samples if sample.at >= begins]


def slope(samples: Sequence[Sample]) -> float:
    """By how much of itself memory grows in an hour: the line through the medians of twenty parts of the samples."""
    size = max(1, len(samples) // 20)
    parts = [samples[start : start + size] for start in range(0, len(samples) - size + 1, size)]
    hours = [statistics.median(sample.at for sample in part) / 3_600 for part in parts]
    memory = [statistics.median(sample.memory for sample in part) for part in parts]
    growth, start = statistics.linear_regression(hours, memory)
    return growth / (start + growth * hours[0])


def rise(samples: Sequence[Sample]) -> float:
    """By how much of itself memory has grown from the first to the last third."""
    third = max(1, len(samples) // 3)
    first = statistics.median(sample.memory for sample in samples[:third])
    return statistics.median(sample.memory for sample in samples[-third:]) / first - 1


def creep(values: Sequence[int]) -> int:
    """By how much the floor of a number has risen: what is left open stays open."""
    third = max(1, len(values) // 3)
    return min(values[-third:]) - min(values[:third])


def percentile(values: Sequence[float], share: float) -> float:
    """The value below which that share of all lies."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]
