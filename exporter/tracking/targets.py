"""What to poll: batches and documents that the config names, and the details that follow from them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

    from exporter.config import Server
    from exporter.tracking.model import Kind


class Target(NamedTuple):
    """Something to poll. ``detail``: of a document that a batch brought along; it has no series of its own."""

    kind: Literal["batch", "document", "detail"]
    dataset_id: str
    id: str

    @property
    def metric_kind(self) -> Kind:
        """The ``kind`` that the poll counts under."""
        return "batch" if self.kind == "batch" else "document"


def configured_targets(server: Server) -> Iterator[Target]:
    """The targets that the config names, in its order: first what tells most, the batches."""
    for dataset in server.datasets:
        for batch in dataset.batches:
            yield Target("batch", dataset.id, batch)
    for dataset in server.datasets:
        for document in dataset.documents:
            yield Target("document", dataset.id, document)
