"""What to poll: what the config names, what discovery finds, and what follows from either."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from exporter.config import Server
    from exporter.tracking.model import Kind

TargetKind = Literal["batch", "document", "dataset", "datasets", "detail", "segments"]


class Target(NamedTuple):
    """Something to poll.

    - ``batch``: the progress of a batch; ``document``: a document that the config names, by its detail
    - ``dataset``: the name of a knowledge base, with discovery its unfinished documents too; ``datasets``: the list
    - ``detail`` and ``segments``: of a document that a batch or discovery brought along; they have no series
    """

    kind: TargetKind
    dataset_id: str
    id: str

    @property
    def series_kind(self) -> Kind | None:
        """The ``kind`` of its series; None when it has none."""
        return _SERIES.get(self.kind)

    @property
    def metric_kind(self) -> Kind:
        """The ``kind`` that its polls count under."""
        return self.series_kind or "document"

    @property
    def is_step(self) -> bool:
        """Whether it follows from another target, and waits while those that tell progress are due."""
        return self.series_kind is None

    def words(self, server: str) -> dict[str, str]:
        """What a line of the log says of it."""
        return {"server": server, "kind": self.metric_kind, "dataset_id": self.dataset_id, "target": self.id}


_SERIES: dict[TargetKind, Kind] = {
    "batch": "batch",
    "document": "document",
    "dataset": "dataset",
    "datasets": "datasets",
}


def with_bases(targets: Iterable[Target], watched: set[Target], holds: Callable[[str], bool]) -> set[Target]:
    """What is to be left together with ``targets``: their knowledge bases too, but for those that something holds.

    That is the config or discovery, which ``holds`` tells, or another target in it that stays ``watched``.
    """
    left = set(targets)
    held = {target.dataset_id for target in watched - left if target.kind != "dataset"}
    bases = {Target("dataset", target.dataset_id, target.dataset_id) for target in left if target.dataset_id}
    return (left | bases) - {base for base in bases if base.dataset_id in held or holds(base.dataset_id)}


def configured_targets(server: Server) -> Iterator[Target]:
    """The targets that the config names, in its order: first what tells most, the batches."""
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
