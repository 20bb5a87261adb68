"""Unusual answers that are not faults: they are accepted, and the page stays valid for every parser."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from exporter.simulator import Fault

if TYPE_CHECKING:
    from collections.abc import Callable

MIB = 1024 * 1024


@dataclass(frozen=True)
class Odd:
    """An unusual answer. ``fault``: produces it for a batch and a document. ``shown``: texts expected on the page.

    In ``shown``, ``{document}`` stands for the labels of the document.
    """

    name: str
    fault: Callable[[str, str], Fault]
    shown: tuple[str, ...]


def _batch(**fields: object) -> Callable[[str, str], Fault]:
    """An answer about a batch with one document."""

    def make(batch: str, document: str) -> Fault:
        item = {"id": document, "indexing_status": "waiting", **fields}
        return Fault(kind="json", endpoint="indexing-status", id=batch, body=json.dumps({"data": [item]}))

    return make


def _named(name: str) -> Callable[[str, str], Fault]:
    """A document detail with the given name."""

    def make(_batch: str, document: str) -> Fault:
        body = json.dumps({"id": document, "name": name, "indexing_status": "waiting"}, ensure_ascii=False)
        return Fault(kind="json", endpoint="document", id=document, body=body)

    return make


def _twice(batch: str, document: str) -> Fault:
    item = {"id": document, "indexing_status": "waiting"}
    return Fault(kind="json", endpoint="indexing-status", id=batch, body=json.dumps({"data": [item, item]}))


def _nothing(batch: str, _document: str) -> Fault:
    return Fault(kind="json", endpoint="indexing-status", id=batch, body='{"data": []}')


ROWS = (
    Odd(
        "unknown-status",
        _batch(indexing_status="pondering"),
        ('dify_document_indexing_status{{{document},status="unknown"}} 1',),
    ),
    Odd("negative-number", _batch(total_segments=-5), ("dify_document_segments{{{document}}} -5",)),
    Odd("fraction-for-count", _batch(total_segments=2.5), ("dify_document_segments{{{document}}} 2.5",)),
    Odd(
        "time-beyond-all-calendars",
        _batch(indexing_status="completed", completed_at=1e300),
        ("dify_document_completed_timestamp_seconds{{{document}}} 1e+300",),
    ),
    Odd("empty-batch", _nothing, ()),
    Odd("document-twice", _twice, ('dify_document_indexing_status{{{document},status="waiting"}} 1',)),
    Odd("name-with-newline-and-nul", _named('a\nb\0c\\"'), ('name="a\\nb\0c\\\\\\""',)),
    Odd("name-from-right-to-left", _named("\u202efdp.exe\u2066"), ('name="\u202efdp.exe\u2066"',)),
    Odd("name-of-1-MiB", _named("n" * MIB), ('name="nnn',)),
)
