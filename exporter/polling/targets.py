"""What is polled: the table of target types, the targets that the configuration names, and follow-up polls.

A new target type is a row of ``TARGET_TYPES``, a method of ``Fetcher`` and the shape of its answer.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from exporter.polling.fetch import Fetcher
from exporter.tracking import NOTHING_WANTED, Outcome, Store, Wanted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from exporter.config import Polling, ServerConfig
    from exporter.tracking import Kind


class Queue(IntEnum):
    """Which targets wait for each other: within a queue the one that is due first is polled first."""

    PROGRESS = 0
    DETAILS = 1
    SEGMENTS = 2


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class TargetType:
    """How targets of one type are polled. The ids that the functions take are a dataset's and the target's.

    - ``name``: the name in this table; ``label``: the value of the label ``kind`` under which polls are counted.
    - ``fetch``: sends the request. ``intervals``: the poll intervals, by dataset id.
    - ``on_missing``: Dify answered that the object does not exist; returns what to poll now.
    - ``on_refused``: requests about the target are refused, while the lists of its dataset are read.
    - ``queue``: targets that report progress come before follow-ups.
    - ``is_follow_up``: polled because of another target. It has no series of its own and ends when it is settled.
    - ``is_needed``: whether a poll that is due still makes sense.
    - ``starts_last``: at the start, wait until all others are polled.
    - ``keeps_schedule``: a poll that is already scheduled is not brought forward by other answers.
    """

    name: str
    label: Kind
    fetch: Callable[[Fetcher, str, str], Outcome]
    intervals: Callable[[Fetcher, str], Polling] = lambda fetcher, _dataset_id: fetcher.polling
    on_missing: Callable[[Store, str, str], Wanted] = lambda _store, _dataset_id, _id: NOTHING_WANTED
    on_refused: Callable[[Fetcher, str, str], Outcome] = lambda _fetcher, _dataset_id, _id: Outcome()
    queue: Queue = Queue.PROGRESS
    is_follow_up: bool = False
    is_needed: Callable[[Store, str, str], bool] = lambda _store, _dataset_id, _id: True
    starts_last: Callable[[Store, str, str], bool] = lambda _store, _dataset_id, _id: False
    keeps_schedule: Callable[[Store, str, str], bool] = lambda _store, _dataset_id, _id: False

    def __repr__(self) -> str:
        return self.name.upper()


class Target(NamedTuple):
    """Something to poll. ``dataset_id`` and ``id`` are "" for the list of datasets."""

    type: TargetType
    dataset_id: str
    id: str

    def log_fields(self, server: str) -> dict[str, str]:
        """What a log line says about the target."""
        return {"server": server, "kind": self.type.label, "dataset_id": self.dataset_id, "target": self.id}


BATCH_STATUS = TargetType(
    name="batch",
    label="batch",
    fetch=Fetcher.fetch_batch,
    on_missing=Store.remove_batch,
    starts_last=Store.was_finished,
)
"""The indexing status of a batch."""

CONFIGURED_DOCUMENT = TargetType(
    name="document",
    label="document",
    fetch=Fetcher.fetch_document,
    on_missing=Store.remove_document,
)
"""A document that the configuration names, by its detail."""

DOCUMENT_DETAIL = TargetType(
    name="detail",
    label="document",
    fetch=partial(Fetcher.fetch_document, adopt=False),
    intervals=lambda fetcher, _dataset_id: fetcher.detail_intervals,
    on_missing=Store.remove_document,
    on_refused=Fetcher.confirm_without_detail,
    queue=Queue.DETAILS,
    is_follow_up=True,
    is_needed=lambda store, dataset_id, document_id: store.document(dataset_id, document_id) is not None,
)
"""The detail of a document that a batch or discovery has found."""

SEGMENT_COUNT = TargetType(
    name="segments",
    label="document",
    fetch=Fetcher.count_segments,
    intervals=lambda fetcher, _dataset_id: fetcher.segment_intervals,
    on_refused=Fetcher.confirm_without_segments,
    queue=Queue.SEGMENTS,
    is_follow_up=True,
    is_needed=Store.needs_segments,
    keeps_schedule=Store.is_unfinished,
)
"""The number of completed segments of a document that discovery has found."""

DATASET_SCAN = TargetType(
    name="dataset",
    label="dataset",
    fetch=lambda fetcher, dataset_id, _id: fetcher.discovery.scan(dataset_id),
    intervals=Fetcher.dataset_intervals,
    on_missing=lambda store, dataset_id, _id: store.remove_dataset(dataset_id),
)
"""The name of a dataset; with discovery its unfinished documents, too."""

DATASET_LIST = TargetType(
    name="datasets",
    label="datasets",
    fetch=lambda fetcher, _dataset_id, _id: fetcher.discovery.list_datasets(),
    intervals=lambda fetcher, _dataset_id: fetcher.list_intervals,
)
"""The list of all datasets that the key sees."""

HEARTBEAT = TargetType(
    name="heartbeat",
    label="dataset",
    fetch=Fetcher.send_heartbeat,
    is_follow_up=True,
)
"""Whether the server answers at all, asked when a target fails and nothing else has been answered for a while."""

TARGET_TYPES = (
    BATCH_STATUS,
    CONFIGURED_DOCUMENT,
    DOCUMENT_DETAIL,
    SEGMENT_COUNT,
    DATASET_SCAN,
    DATASET_LIST,
    HEARTBEAT,
)


def scan_of(dataset_id: str) -> Target:
    """The target that scans a dataset."""
    return Target(DATASET_SCAN, dataset_id, dataset_id)


def configured_targets(server: ServerConfig) -> Iterator[Target]:
    """The targets that the configuration names, in its order: batches, which report most, come first."""
    for dataset in server.datasets:
        for batch in dataset.batches:
            yield Target(BATCH_STATUS, dataset.id, batch)
    for dataset in server.datasets:
        for document in dataset.documents:
            yield Target(CONFIGURED_DOCUMENT, dataset.id, document)
    if server.discover:
        yield Target(DATASET_LIST, "", "")
    for dataset in server.datasets:
        yield scan_of(dataset.id)


def follow_ups(dataset_id: str, wanted: Wanted) -> Iterator[Target]:
    """The targets that an answer about a dataset makes worth polling now."""
    for target_type, ids in (
        (BATCH_STATUS, wanted.batches),
        (CONFIGURED_DOCUMENT, wanted.documents),
        (DOCUMENT_DETAIL, wanted.details),
        (SEGMENT_COUNT, wanted.segments),
    ):
        for id_ in ids:
            yield Target(target_type, dataset_id, id_)
    for found in wanted.datasets:
        yield scan_of(found)


def with_unused_datasets(
    targets: Iterable[Target], watched: set[Target], is_held: Callable[[str], bool]
) -> set[Target]:
    """``targets``, which are to be unwatched, and the scans of their datasets that nothing needs any more.

    A dataset is needed while the configuration or discovery holds it (``is_held``), or another target in it stays
    ``watched``.
    """
    removed = set(targets)
    needed = {target.dataset_id for target in watched - removed if target.type is not DATASET_SCAN}
    scans = {scan_of(target.dataset_id) for target in removed if target.dataset_id}
    return (removed | scans) - {scan for scan in scans if scan.dataset_id in needed or is_held(scan.dataset_id)}
