"""What the exporter knows, as immutable objects. A change is a new object in the place of the old one.

Times are Unix seconds: those that end in ``_at`` exactly as the API gives them, the others by the exporter's own clock.
None stands for null or missing upstream and has no series.

Documents, batches and activities are saved by field names, without the fields that have their default: adding a field
needs no more than a default; renaming one, or changing a default, needs a migration of the state.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, Protocol

from msgspec import Struct

if TYPE_CHECKING:
    from collections.abc import Sequence

Number = int | float

STATUSES = ("waiting", "parsing", "cleaning", "splitting", "indexing", "paused", "completed", "error", "unknown")
"""Indexing statuses, in the order of a life; ``unknown`` stands for every word that is none of the others."""

DISPLAY_STATUSES = ("queuing", "indexing", "paused", "error", "available", "disabled", "archived", "unknown")
"""Display statuses of the document detail and list."""

KINDS = ("batch", "document", "dataset", "datasets")
"""Kinds of targets; ``dataset`` is one knowledge base, ``datasets`` the list of them."""

TARGET_STATES = ("active", "settled", "failing", "gone")

Kind = Literal["batch", "document", "dataset", "datasets"]
TargetState = Literal["active", "settled", "failing", "gone"]


class Progress(Struct, frozen=True, gc=False, omit_defaults=True):
    """Where the indexing of a document stands: an item of indexing-status, or what the detail says of it."""

    status: str
    processing_started_at: Number | None = None
    parsing_completed_at: Number | None = None
    cleaning_completed_at: Number | None = None
    splitting_completed_at: Number | None = None
    completed_at: Number | None = None
    paused_at: Number | None = None
    stopped_at: Number | None = None
    completed_segments: Number | None = None
    total_segments: Number | None = None
    has_error: bool = False


class ProcessRule(Struct, frozen=True, gc=False, omit_defaults=True):
    """The rule that a document was processed with. Sizes in tokens; "" and None where the rule does not say."""

    mode: str = ""
    separator: str = ""
    parent_mode: str = ""
    max_tokens: Number | None = None
    overlap_tokens: Number | None = None
    subchunk_max_tokens: Number | None = None


class Detail(Struct, frozen=True, gc=False, omit_defaults=True):
    """The detail of a document. ``word_count`` and ``average_segment_length`` are characters, latency is seconds."""

    name: str = ""
    data_source_type: str = ""
    doc_form: str = ""
    doc_language: str = ""
    created_from: str = ""
    display_status: str | None = None
    created_at: Number | None = None
    updated_at: Number | None = None
    disabled_at: Number | None = None
    tokens: Number | None = None
    word_count: Number | None = None
    hit_count: Number | None = None
    segment_count: Number | None = None
    average_segment_length: Number | None = None
    indexing_latency: Number | None = None
    enabled: bool | None = None
    archived: bool | None = None
    has_error: bool = False
    rule: ProcessRule | None = None


class Attempt(Struct, frozen=True, gc=False, omit_defaults=True):
    """One run of indexing. ``ended``: how the attempt before it ended, or stood at first sight: its times are stale.

    ``counted``: the document is at rest at that very end, which has been counted. ``first``: seen from its beginning.
    """

    ended: Progress | None = None
    counted: bool = False
    first: bool = False


class Milestone(Struct, frozen=True, gc=False):
    """How much of a batch was done at a monotonic second: segments completed, documents finished."""

    monotonic: float
    segments: Number
    documents: int


class Document(Struct, frozen=True, gc=False, omit_defaults=True):
    """A document. ``batch`` is "" when not known.

    ``last_progress`` (Unix seconds) and ``moved`` (monotonic seconds): when it last moved.
    """

    server: str
    dataset_id: str
    document_id: str
    batch: str
    progress: Progress
    detail: Detail | None = None
    last_progress: float = 0.0
    moved: float = 0.0
    stalled: bool = False
    attempt: Attempt = Attempt()


class Batch(Struct, frozen=True, gc=False, omit_defaults=True):
    """A batch and the sums over its documents. ``counts`` goes by ``STATUSES``.

    ``last_progress`` (Unix seconds) and ``moved`` (monotonic seconds): when anything of it last moved. ``eta``: Unix
    seconds, None when there is no pace.
    """

    server: str
    dataset_id: str
    batch: str
    documents: tuple[str, ...]
    counts: tuple[int, ...]
    segments: Number | None = None
    completed_segments: Number | None = None
    last_progress: float = 0.0
    moved: float = 0.0
    stalled: bool = False
    eta: float | None = None
    trail: tuple[Milestone, ...] = ()


class TargetStatus(Struct, frozen=True, gc=False):
    """How the polls of a configured target go. None: not polled yet, or never answered."""

    server: str
    kind: Kind
    dataset_id: str
    target: str
    success: bool | None = None
    last_success: float | None = None
    interval: float | None = None


class Distribution(Struct, frozen=True, gc=False, omit_defaults=True):
    """Observations by bucket (not cumulative; the last one is +Inf) and their sum."""

    counts: tuple[int, ...]
    total: float = 0.0


class Activity(Struct, frozen=True, gc=False, omit_defaults=True):
    """What was seen to happen in a knowledge base, counted. ``finished`` by status and reason, ``phases`` by phase."""

    server: str
    dataset_id: str
    finished: tuple[tuple[tuple[str, str], int], ...] = ()
    restarted: int = 0
    phases: tuple[tuple[str, Distribution], ...] = ()


class KnowledgeBase(Struct, frozen=True, gc=False):
    """A knowledge base. ``name`` is "" until it is known.

    ``documents``: how many it has, by ``DISPLAY_STATUSES``; None where that is not known, empty when none is.
    """

    server: str
    dataset_id: str
    name: str = ""
    indexing_technique: str = ""
    embedding_model: str = ""
    documents: tuple[int | None, ...] = ()


class ServerStatus(Struct, frozen=True, gc=False):
    """A server. ``up``: the last request was answered with accepted credentials; None before the first one."""

    server: str
    url: str
    version: str = ""
    up: bool | None = None


Tracked = Document | Batch | KnowledgeBase | Activity | TargetStatus | ServerStatus
"""Whatever has series."""

Change = tuple[Tracked | None, Tracked | None]
"""The object as it was and as it is; None on the left: it is new; None on the right: it is gone."""


class Listener(Protocol):
    """Who wants to know of changes: the exposition."""

    def changed(self, changes: Sequence[Change]) -> None:
        """Take all that one answer changed, at once. Called in the polling thread; must not raise."""
        ...


class Recorder(Protocol):
    """Who keeps what is known over a restart."""

    def note(self, changes: Sequence[Change], *, at_once: bool) -> None:
        """Take changes; with ``at_once`` they are safe before this returns. Must not raise."""
        ...


class NoListener:
    """Wants to know nothing."""

    def changed(self, changes: Sequence[Change]) -> None:
        """Let it pass."""


class NoRecorder:
    """Keeps nothing."""

    def note(self, changes: Sequence[Change], *, at_once: bool) -> None:
        """Let it pass."""


class ServerSchedule(Struct, frozen=True, gc=False):
    """A server's schedule at one instant: how late the most overdue poll is (seconds), targets by kind and state.

    ``clock_offset``: seconds by which the API's times are ahead of the exporter's clock; None when not known.
    """

    server: str
    lag: float
    targets: dict[tuple[Kind, TargetState], int]
    clock_offset: float | None = None


class PollObserver(Protocol):
    """Who counts polls: the exporter's own metrics."""

    def polled(self, server: str, kind: Kind) -> None:
        """A poll has ended, well or not."""
        ...

    def poll_failed(self, server: str, kind: Kind, reason: str) -> None:
        """It failed; ``reason`` is that of the error tree."""
        ...

    def unknown_value(self, server: str, field: str) -> None:
        """A status was none of the known ones."""
        ...
