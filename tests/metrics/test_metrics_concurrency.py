"""Concurrent polls and scrapes."""

from __future__ import annotations

import re
import threading
from typing import TYPE_CHECKING

from msgspec.structs import replace

from exporter.metrics import Exposition, Format

if TYPE_CHECKING:
    from exporter.tracking.model import Document


def test_a_scrape_sees_all_changes_of_an_answer_or_none(exposition: Exposition, document: Document) -> None:
    """Documents that change together appear together, even in different blocks and with polls flushing them."""
    documents = [replace(document, document_id=str(n)) for n in range(300)]
    exposition.changed([(None, one) for one in documents])
    stop = threading.Event()
    rounds = 0

    def poll() -> None:
        nonlocal rounds, documents
        while not stop.is_set():
            rounds += 1
            after = [replace(one, progress=replace(one.progress, completed_segments=rounds)) for one in documents]
            exposition.changed(list(zip(documents, after, strict=True)))
            documents = after
            exposition.flush(older_than=0.0)

    polling = threading.Thread(target=poll)
    polling.start()
    seen = []
    try:
        for _ in range(30):
            page = b"".join(exposition.page(Format.TEXT).plain_chunks()).decode()
            seen.append(re.findall(r"^dify_document_segments_completed{.*} (\d+)$", page, re.MULTILINE))
    finally:
        stop.set()
        polling.join()

    assert [(300, 1)] * 30 == [(len(values), len(set(values))) for values in seen]
    assert sorted(seen, key=lambda values: int(values[0])) == seen
    assert rounds > 1


def test_a_poll_does_not_wait_for_a_scrape(exposition: Exposition, document: Document) -> None:
    """While a scrape holds the pieces, changes are accepted and flushing is left to the scrape."""
    with exposition._pieces_lock:
        exposition.changed([(None, document)])
        exposition.flush(older_than=0.0)
        assert {0} == {rendered.series for rendered in exposition._rendered}

    assert exposition.series() > 0


def test_flushing_yields_to_a_scrape(exposition: Exposition, document: Document) -> None:
    """A poll that is flushing stops at the next block when a scrape waits: the scrape flushes everything anyway."""
    exposition.changed([(None, document)])
    exposition._scrapes_waiting = 1
    exposition.flush(older_than=0.0)
    assert {0} == {rendered.series for rendered in exposition._rendered}

    exposition._scrapes_waiting = 0
    exposition.flush(older_than=0.0)
    assert any(rendered.series for rendered in exposition._rendered)
