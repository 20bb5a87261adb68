"""The result of one poll."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from exporter.tracking.event_counters import Failure
    from exporter.tracking.progress import Event
    from exporter.tracking.targets import Target


class Outcome(NamedTuple):
    """The result of one poll.

    ``moved``, ``settled``: whether the target made progress, whether it has finished. ``wanted``: targets to poll now.
    ``dropped``: targets to stop polling, unless something else refers to them.
    ``verdict_at``: monotonic second from which an unchanged answer means a stall; None: never.
    ``outdated``: part of the answer was ignored, because newer progress was recorded after the request was sent.
    """

    moved: bool = False
    settled: bool = False
    wanted: tuple[Target, ...] = ()
    dropped: tuple[Target, ...] = ()
    events: tuple[Event, ...] = ()
    failures: tuple[Failure, ...] = ()
    verdict_at: float | None = None
    outdated: bool = False
