"""What an answer did."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from exporter.tracking.ledger import Failure
    from exporter.tracking.progress import Event
    from exporter.tracking.targets import Target


class Outcome(NamedTuple):
    """What an answer did.

    ``moved``, ``settled``: of what was asked for. ``wanted``: to be polled now. ``dropped``: to be left, unless
    something else holds them.
    ``verdict_at``: the monotonic second at which the next answer shows a stall if it is still the same; None: never.
    ``outdated``: some of the answer was passed over, because what it tells of moved after it was asked for.
    """

    moved: bool = False
    settled: bool = False
    wanted: tuple[Target, ...] = ()
    dropped: tuple[Target, ...] = ()
    events: tuple[Event, ...] = ()
    failures: tuple[Failure, ...] = ()
    verdict_at: float | None = None
    outdated: bool = False
