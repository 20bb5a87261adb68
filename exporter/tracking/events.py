"""What an answer can report: events of documents and batches, and the outcome of merging one answer."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from exporter.dify import DifyError
    from exporter.tracking.model import Batch, Document


class Finished(NamedTuple):
    """An attempt has ended. ``phases``: seconds per phase, as far as the API's times belong to this attempt."""

    document: Document
    phases: tuple[tuple[str, float], ...]


class Restarted(NamedTuple):
    """A document has left completed or error and is being indexed again."""

    document: Document


class Queued(NamedTuple):
    """A completed document waited so many ``seconds`` before its first attempt; known at its end or later."""

    document: Document
    seconds: float


class Stalled(NamedTuple):
    """A batch or document makes no progress any more. ``since``: Unix seconds of the last progress."""

    subject: Batch | Document
    since: float


class Resumed(NamedTuple):
    """A stalled batch or document makes progress again, or has finished."""

    subject: Batch | Document


Event = Finished | Restarted | Queued | Stalled | Resumed


class Failure(NamedTuple):
    """A document whose indexing has just failed. ``text``: the API's error text; it may hold paths and prompts."""

    document: Document
    reason: str
    text: str


class Wanted(NamedTuple):
    """What one answer makes worth polling now, by the ids of one dataset (``datasets``: of the server).

    ``details`` and ``segments`` are documents whose detail or number of completed segments is to be fetched;
    ``documents`` are documents that the configuration names. ``missing``: documents without a detail; a request for it
    that is already scheduled, for example after a failure, is not brought forward.
    """

    batches: tuple[str, ...] = ()
    documents: tuple[str, ...] = ()
    details: tuple[str, ...] = ()
    segments: tuple[str, ...] = ()
    datasets: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()


NOTHING_WANTED = Wanted()


class Outcome(NamedTuple):
    """The result of merging one answer.

    - ``moved``, ``settled``: whether what was polled made progress, and whether it has finished.
    - ``wanted``: what to poll now.
    - ``vanished``: ids of the datasets that the list of datasets no longer contains.
    - ``stall_due``: the monotonic second from which an unchanged answer means a stall; None: never.
    - ``outdated``: part of the answer was ignored, because its subject changed after the request was sent.
    - ``refusal``: Dify refused part of what was requested; the poll has failed, although the rest was merged.
    """

    moved: bool = False
    settled: bool = False
    wanted: Wanted = NOTHING_WANTED
    vanished: tuple[str, ...] = ()
    events: tuple[Event, ...] = ()
    failures: tuple[Failure, ...] = ()
    stall_due: float | None = None
    outdated: bool = False
    refusal: DifyError | None = None
