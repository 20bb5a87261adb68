"""Event log: one log line per event in the life of a document or batch, never one per poll."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from exporter.tracking.events import Finished, Restarted, Resumed, Stalled
from exporter.tracking.model import Batch

if TYPE_CHECKING:
    from exporter.tracking.events import Event, Outcome
    from exporter.tracking.model import Document
    from exporter.tracking.store import Store

_log = structlog.get_logger(__name__)


class EventLog:
    """Logs the events of one server. Names of documents appear only with ``document_name``."""

    def __init__(self, server: str, store: Store, *, document_name: bool) -> None:
        self._server = server
        self._store = store
        self._document_name = document_name
        self._zone_logged: float | None = None

    def write(self, outcome: Outcome) -> None:
        """Log the events that an answer revealed."""
        for event in outcome.events:
            self._log_event(event)
        for failure in outcome.failures:
            fields = self._fields(failure.document)
            _log.warning("document failed", reason=failure.reason, **fields)
            # The text may contain paths, prompts and names: log it at debug level only.
            _log.debug("document failed: error text from Dify", error=failure.text, **fields)
        self._log_time_zone()

    def _log_event(self, event: Event) -> None:
        match event:
            case Stalled(subject, since):
                _log.warning(
                    "indexing stalled: check Dify's worker and its queue",
                    seconds_without_progress=round(self._store.clock.time() - since),
                    **self._fields(subject),
                )
            case Resumed(subject):
                _log.info("indexing resumed", **self._fields(subject))
            case Restarted(document):
                _log.info("document restarted indexing", **self._fields(document))
            case Finished(document, _) if document.progress.status == "completed":
                _log.debug("document completed", **self._fields(document))

    def _log_time_zone(self) -> None:
        """Log a wrong time zone once: it makes all ages computed from API times wrong by hours."""
        hours = self._store.offset.zone_hours
        if hours != self._zone_logged:
            self._zone_logged = hours
            if hours is not None:
                _log.warning(
                    "Dify's timestamps are off by a time zone: set TZ=UTC in Dify's API container",
                    server=self._server,
                    hours=hours,
                )

    def _fields(self, subject: Batch | Document) -> dict[str, object]:
        fields: dict[str, object] = {"server": self._server, "dataset_id": subject.dataset_id, "batch": subject.batch}
        dataset = self._store.dataset(subject.dataset_id).name
        if dataset:
            fields["dataset"] = dataset
        if isinstance(subject, Batch):
            fields["documents"] = len(subject.documents)
            fields["unfinished"] = sum(subject.counts[:6]) + subject.counts[-1]
        else:
            fields["document_id"] = subject.document_id
            if subject.detail and self._document_name:
                fields["name"] = subject.detail.name
        return fields
