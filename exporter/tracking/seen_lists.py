"""What is new in the document lists of a dataset since they were last read. Pure.

Most failures come within a second: such a document is never listed as unfinished. It began after the last look if it
was created after the newest document of that look, by the API's own times, whatever the clocks say; or if it had not
failed then and has now, like a document that was retried.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from exporter.tracking.model import FINISHED, SeenLists

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from exporter.dify import ListedDocument

RECENT = 120.0
"""Seconds: documents created that close to each other may appear in the list in another order."""


def new_ends(seen: SeenLists | None, listed: Mapping[str, ListedDocument]) -> frozenset[str]:
    """The ids of the finished documents in ``listed`` that began after the lists were last read (``seen``)."""
    if seen is None or _times_moved(seen, listed):
        return frozenset()
    since = read_back_to(seen)
    return frozenset(
        document.id
        for document in listed.values()
        if document.indexing_status in FINISHED
        and (
            (document.created_at is not None and document.created_at > since and document.id not in seen.recent)
            or (document.indexing_status == "error" and seen.failed is not None and document.id not in seen.failed)
        )
    )


def read_back_to(seen: SeenLists | None) -> float:
    """The API's time down to which a list, newest first, has to be read; -inf: to its end."""
    return float("-inf") if seen is None or seen.newest is None else seen.newest - RECENT


def updated(
    before: SeenLists | None,
    newest: Mapping[str, ListedDocument],
    *,
    complete: bool,
    failed: Collection[str] | None,
    all_failed: bool,
    key: tuple[str, str],
    now: float,
) -> SeenLists | None:
    """What was seen after the lists were read at ``now`` (Unix seconds of the exporter). None: too little to compare.

    ``newest``: the newest documents; ``complete``: none was left out among them. ``failed``: ids in the list of failed
    documents, None if it was not read; ``all_failed``: it is complete. ``key``: server and dataset id.
    """
    if before is None and not complete:
        return None
    times = [document.created_at for document in newest.values() if document.created_at is not None]
    recent: set[str] = set()
    if before is not None and not complete:
        times += [] if before.newest is None else [before.newest]
        recent |= before.recent
    latest = max(times, default=None)
    if latest is not None:
        recent |= {id_ for id_, found in newest.items() if _is_after(found, latest - RECENT)}
    known = None if before is None else before.failed
    if failed is not None and all_failed:
        known = frozenset(failed)
    elif failed is not None and known is not None:
        # Documents move between pages while these are read: one that was missed has not failed again.
        known |= frozenset(failed)
    return SeenLists(*key, now, latest, frozenset(recent), known)


def _is_after(document: ListedDocument, since: float) -> bool:
    return document.created_at is not None and document.created_at > since


def _times_moved(seen: SeenLists, listed: Mapping[str, ListedDocument]) -> bool:
    """Whether the API's times differ from those of the last look, because its time zone was changed."""
    newest = seen.newest
    known = [listed[id_] for id_ in seen.recent if id_ in listed]
    return newest is not None and bool(known) and all(_is_after(document, newest) for document in known)
