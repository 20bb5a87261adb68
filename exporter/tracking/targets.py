"""Poll targets: what the configuration names, what discovery finds, and what follows from either."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from exporter.config import ServerConfig
    from exporter.tracking.model import Kind

TargetKind = Literal["batch", "document", "dataset", "datasets", "detail", "segments"]


class Target(NamedTuple):
    """Something to poll.

    - ``batch``: the progress of a batch; ``document``: a document that the configuration names, by its detail
    - ``dataset``: the name of a dataset and, with discovery, its unfinished documents; ``datasets``: the dataset list
    - ``detail`` and ``segments``: follow-ups for a document found through a batch or discovery; they have no series
    """

    kind: TargetKind
    dataset_id: str
    id: str

    @property
    def series_kind(self) -> Kind | None:
        """The ``kind`` label of its series; None if it has none."""
        return _SERIES.get(self.kind)

    @property
    def metric_kind(self) -> Kind:
        """The ``kind`` label that its polls are counted under."""
        return self.series_kind or "document"

    @property
    def is_step(self) -> bool:
        """Whether it is a follow-up of another target: it waits while targets that report progress are due."""
        return self.series_kind is None

    def words(self, server: str) -> dict[str, str]:
        """Log keys that identify the target."""
        return {"server": server, "kind": self.metric_kind, "dataset_id": self.dataset_id, "target": self.id}


_SERIES: dict[TargetKind, Kind] = {
    "batch": "batch",
    "document": "document",
    "dataset": "dataset",
    "datasets": "datasets",
}


def with_bases(targets: Iterable[Target], watched: set[Target], holds: Callable[[str], bool]) -> set[Target]:
    """``targets`` and their datasets, except datasets that something still refers to.

    That is the configuration or discovery (``holds``), or another target in the dataset that stays ``watched``.
    """
    left = set(targets)
    held = {target.dataset_id for target in watched - left if target.kind != "dataset"}
    bases = {Target("dataset", target.dataset_id, target.dataset_id) for target in left if target.dataset_id}
    return (left | bases) - {base for base in bases if base.dataset_id in held or holds(base.dataset_id)}


def configured_targets(server: ServerConfig) -> Iterator[Target]:
    """The targets in the configuration: first the batches, which report the most."""
    for dataset in server.datasets:
        for batch in dataset.batches:
            yield Target("batch", dataset.id, batch)
    for dataset in server.datasets:
        for document in dataset.documents:
            yield Target("document", dataset.id, document)
    if server.discover:
        yield Target("datasets", "", "")
    for dataset in server.datasets:
        yield Target("dataset", dataset.id, dataset.id)
