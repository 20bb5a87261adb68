"""Event log: one log line per event in the life of a document or batch, never one per poll."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from exporter.tracking.model import Batch
from exporter.tracking.progress import Finished, Restarted, Resumed, Stalled

if TYPE_CHECKING:
    from exporter.tracking.model import Document
    from exporter.tracking.outcome import Outcome
    from exporter.tracking.progress import Event
    from exporter.tracking.store import Store

_log = structlog.get_logger(__name__)


class EventLog:
    """Logs the events of one server. Names of documents appear only with ``document_name``."""

    def __init__(self, server: str, store: Store, *, document_name: bool) -> None:
        self._server = server
        self._store = store
        self._document_name = document_name
        self._zone_told: float | None = None

    def tell(self, outcome: Outcome) -> None:
        """Log the events that an answer revealed."""
        for event in outcome.events:
            self._tell_event(event)
        for failure in outcome.failures:
            words = self._words(failure.document)
            _log.warning("document failed", reason=failure.reason, **words)
            # The text may contain paths, prompts and names: log it at debug level only.
            _log.debug("document failed: error text from Dify", error=failure.text, **words)
        self._tell_zone()

    def _tell_event(self, event: Event) -> None:
        match event:
            case Stalled(subject, since):
                _log.warning(
                    "indexing stalled: check Dify's worker and its queue",
                    seconds_without_progress=round(self._store.clock.time() - since),
                    **self._words(subject),
                )
            case Resumed(subject):
                _log.info("indexing resumed", **self._words(subject))
            case Restarted(document):
                _log.info("document restarted indexing", **self._words(document))
            case Finished(document, _) if document.progress.status == "completed":
                _log.debug("document completed", **self._words(document))

    def _tell_zone(self) -> None:
        """Log a wrong time zone once: it makes all ages computed from API times wrong by hours."""
        hours = self._store.offset.zone_hours
        if hours != self._zone_told:
            self._zone_told = hours
            if hours is not None:
                _log.warning(
                    "Dify's timestamps are off by a time zone: set TZ=UTC in Dify's API container",
                    server=self._server,
                    hours=hours,
                )

    def _words(self, subject: Batch | Document) -> dict[str, object]:
        words: dict[str, object] = {"server": self._server, "dataset_id": subject.dataset_id, "batch": subject.batch}
        dataset = self._store.dataset(subject.dataset_id).name
        if dataset:
            words["dataset"] = dataset
        if isinstance(subject, Batch):
            words["documents"] = len(subject.documents)
            words["unfinished"] = sum(subject.counts[:6]) + subject.counts[-1]
        else:
            words["document_id"] = subject.document_id
            if subject.detail and self._document_name:
                words["name"] = subject.detail.name
        return words
