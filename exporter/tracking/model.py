"""Data model: what the exporter knows, as immutable objects. A change replaces an object with a new one.

A dataset is what Dify's user interface calls a knowledge base. It holds documents; a batch is the set of documents of
one upload; a document is split into segments, which are embedded and indexed one after another.

Times are Unix seconds: those that end in ``_at`` exactly as the API returns them, the others by the exporter's own
clock. None stands for null or missing in the API and has no series.

Documents, batches and counters are saved by field name, without the fields that have their default value: adding a
field requires only a default; renaming one, or changing a default, requires a migration of the state file.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, Protocol

from msgspec import Struct

from exporter.dify.answers import Quantity, Time  # noqa: TC001 decoding needs the types

if TYPE_CHECKING:
    from collections.abc import Sequence

Number = int | float

STATUSES = ("waiting", "parsing", "cleaning", "splitting", "indexing", "paused", "completed", "error", "unknown")
"""Indexing statuses in lifecycle order; ``unknown`` stands for every other word."""

DISPLAY_STATUSES = ("queuing", "indexing", "paused", "error", "available", "disabled", "archived", "unknown")
"""Display statuses in document details and document lists."""

FINISHED = frozenset({"completed", "error"})
"""The statuses in which nothing changes until somebody retries, updates or uploads the document again."""

KINDS = ("batch", "document", "dataset", "datasets")
"""Target types with series; ``dataset`` is one dataset, ``datasets`` the list of them."""

TARGET_STATES = ("active", "settled", "failing", "gone")

Kind = Literal["batch", "document", "dataset", "datasets"]
TargetState = Literal["active", "settled", "failing", "gone"]


class Progress(Struct, frozen=True, gc=False, omit_defaults=True):
    """Indexing progress of a document, from an item of indexing-status or from the document's detail."""

    status: str
    processing_started_at: Time | None = None
    parsing_completed_at: Time | None = None
    cleaning_completed_at: Time | None = None
    splitting_completed_at: Time | None = None
    completed_at: Time | None = None
    paused_at: Time | None = None
    stopped_at: Time | None = None
    completed_segments: Quantity | None = None
    total_segments: Quantity | None = None
    has_error: bool = False


class ProcessRule(Struct, frozen=True, gc=False, omit_defaults=True):
    """The rule that a document was processed with. Sizes in tokens; "" and None if the rule sets no value."""

    mode: str = ""
    separator: str = ""
    parent_mode: str = ""
    max_tokens: Quantity | None = None
    overlap_tokens: Quantity | None = None
    subchunk_max_tokens: Quantity | None = None


class Detail(Struct, frozen=True, gc=False, omit_defaults=True):
    """The detail of a document. ``word_count`` and ``average_segment_length`` in characters, latency in seconds."""

    name: str = ""
    data_source_type: str = ""
    doc_form: str = ""
    doc_language: str = ""
    created_from: str = ""
    display_status: str | None = None
    created_at: Time | None = None
    updated_at: Time | None = None
    disabled_at: Time | None = None
    tokens: Quantity | None = None
    word_count: Quantity | None = None
    hit_count: Quantity | None = None
    segment_count: Quantity | None = None
    average_segment_length: Quantity | None = None
    indexing_latency: Quantity | None = None
    enabled: bool | None = None
    archived: bool | None = None
    has_error: bool = False
    rule: ProcessRule | None = None


class Attempt(Struct, frozen=True, gc=False, omit_defaults=True):
    """One indexing attempt. ``ended``: progress at the end of the previous one or at first sight: its times are stale.

    ``counted``: the document has finished with exactly that progress, which has been counted. ``first_seen``: Unix
    seconds of the exporter at which the document was first seen, while this may be its first attempt and the phase
    ``queued`` has not been counted.
    """

    ended: Progress | None = None
    counted: bool = False
    first_seen: float | None = None


class Milestone(Struct, frozen=True, gc=False):
    """Progress of a batch at a monotonic second: completed segments and finished documents."""

    monotonic: float
    segments: Number
    documents: int


class Document(Struct, frozen=True, gc=False, omit_defaults=True):
    """A document. ``batch`` is "" if unknown.

    Time of the last progress: ``last_progress`` in Unix seconds, ``last_progress_monotonic`` in monotonic seconds.
    """

    server: str
    dataset_id: str
    document_id: str
    batch: str
    progress: Progress
    detail: Detail | None = None
    last_progress: float = 0.0
    last_progress_monotonic: float = 0.0
    stalled: bool = False
    attempt: Attempt = Attempt()


class Batch(Struct, frozen=True, gc=False, omit_defaults=True):
    """A batch and the sums over its documents. ``counts`` is in the order of ``STATUSES``.

    Time of the last progress in the batch: ``last_progress`` in Unix seconds, ``last_progress_monotonic`` in monotonic
    seconds. ``eta``:
    Unix seconds, None if there is no estimate.
    """

    server: str
    dataset_id: str
    batch: str
    documents: tuple[str, ...]
    counts: tuple[int, ...]
    segments: Quantity | None = None
    completed_segments: Quantity | None = None
    last_progress: float = 0.0
    last_progress_monotonic: float = 0.0
    stalled: bool = False
    eta: float | None = None
    milestones: tuple[Milestone, ...] = ()


def is_finished(batch: Batch) -> bool:
    """Whether every document of the batch has finished."""
    return all(not count or status in FINISHED for status, count in zip(STATUSES, batch.counts, strict=True))


class TargetStatus(Struct, frozen=True, gc=False):
    """Poll status of a target. None: not polled yet, or never successful."""

    server: str
    kind: Kind
    dataset_id: str
    target: str
    success: bool | None = None
    last_success: float | None = None
    interval: float | None = None


class Distribution(Struct, frozen=True, gc=False, omit_defaults=True):
    """Histogram: observations per bucket (not cumulative; the last one is +Inf) and their sum."""

    counts: tuple[int, ...]
    total: float = 0.0


class DatasetCounters(Struct, frozen=True, gc=False, omit_defaults=True):
    """Event counters of a dataset. ``finished`` by status and error reason, ``phases`` by phase.

    ``since``: Unix seconds of the exporter since when the dataset is watched; what began before is not counted at
    first sight.
    """

    server: str
    dataset_id: str
    finished: tuple[tuple[tuple[str, str], int], ...] = ()
    restarted: int = 0
    phases: tuple[tuple[str, Distribution], ...] = ()
    since: float | None = None


class SeenLists(Struct, frozen=True, gc=False, omit_defaults=True):
    """What the document lists of a dataset contained when they were last read: what is new since has to be counted.

    - ``read_at``: Unix seconds of the exporter when they were read.
    - ``newest``: the latest ``created_at`` in them; None: they were empty. ``recent``: the ids of the documents created
      within ``RECENT`` seconds before.
    - ``failed``: the ids of the documents in error; None: these were not listed.
    """

    server: str
    dataset_id: str
    read_at: float
    newest: Time | None = None
    recent: frozenset[str] = frozenset()
    failed: frozenset[str] | None = None


class Dataset(Struct, frozen=True, gc=False):
    """A dataset. ``name`` is "" until it is known.

    ``documents``: document counts in the order of ``DISPLAY_STATUSES``; None for an unknown count, empty if all are
    unknown.
    """

    server: str
    dataset_id: str
    name: str = ""
    indexing_technique: str = ""
    embedding_model: str = ""
    documents: tuple[int | None, ...] = ()


class ServerStatus(Struct, frozen=True, gc=False):
    """A server. ``up``: Dify answered the last request and accepted the key; None before the first one."""

    server: str
    url: str
    version: str = ""
    up: bool | None = None


Tracked = Document | Batch | Dataset | DatasetCounters | SeenLists | TargetStatus | ServerStatus
"""All objects whose changes are published. All but ``SeenLists`` have series."""

Change = tuple[Tracked | None, Tracked | None]
"""The object before and after. None on the left: it is new. None on the right: it was removed."""


class ChangeListener(Protocol):
    """Receives changes: the state file, the document limit, the exposition."""

    def changed(self, changes: Sequence[Change], *, durable: bool = False) -> None:
        """Handle all changes of one answer together. Called in the polling thread; must not raise.

        ``durable``: a counter would be wrong after a kill that loses these changes.
        """
        ...


class ServerSchedule(Struct, frozen=True, gc=False):
    """Snapshot of a server's schedule. ``lag``: seconds by which the most overdue poll is late.

    ``targets``: number by type and state. ``clock_offset``: seconds by which API times are ahead of the exporter's
    clock; None if unknown. ``batch_list_problems``: batch files that cannot be read, and patterns without a file.
    """

    server: str
    lag: float
    targets: dict[tuple[Kind, TargetState], int]
    clock_offset: float | None = None
    batch_list_problems: int = 0


class PollObserver(Protocol):
    """Counts polls: the exporter's own metrics."""

    def polled(self, server: str, kind: Kind) -> None:
        """Count a poll, successful or not."""
        ...

    def poll_failed(self, server: str, kind: Kind, reason: str) -> None:
        """Count a failed poll; ``reason`` comes from the error tree."""
        ...

    def unknown_value(self, server: str, field: str) -> None:
        """Count a status that is not among the known ones, by the name of its field."""
        ...
