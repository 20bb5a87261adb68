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
    """An unusual answer. ``fault``: produces it for a batch and a document.

    ``shown``: texts expected on the page; ``absent``: texts that must not occur. In both, ``{document}`` stands for the
    labels of the document. ``ignored``: fields that the page counts as ignored or unknown.
    """

    name: str
    fault: Callable[[str, str], Fault]
    shown: tuple[str, ...] = ()
    absent: tuple[str, ...] = ()
    ignored: tuple[str, ...] = ()


def _batch(**fields: object) -> Callable[[str, str], Fault]:
    """An answer about a batch with one document."""
    return _batch_json(**{name: json.dumps(value) for name, value in fields.items()})


def _batch_json(**fields: str) -> Callable[[str, str], Fault]:
    """The same, with the values as they are spelled in JSON."""

    def make(batch: str, document: str) -> Fault:
        spelled = {"id": json.dumps(document), "indexing_status": '"waiting"', **fields}
        item = ", ".join(f'"{name}": {value}' for name, value in spelled.items())
        return Fault(kind="json", endpoint="indexing-status", id=batch, body=f'{{"data": [{{{item}}}]}}')

    return make


def _ignored(name: str, field: str, spelled: str) -> Odd:
    """A row for a value of a batch's document that has no series; the other values have theirs."""
    series = "dify_document_completed_timestamp_seconds" if field == "completed_at" else "dify_document_segments"
    return Odd(
        name,
        _batch_json(completed_segments="1", **{field: spelled}),
        ("dify_document_segments_completed{{{document}}} 1",),
        absent=(series + "{{{document}}}",),
        ignored=(field,),
    )


def _detail(**fields: object) -> Callable[[str, str], Fault]:
    """A document detail with the given fields."""

    def make(_batch: str, document: str) -> Fault:
        body = json.dumps({"id": document, "indexing_status": "waiting", **fields}, ensure_ascii=False)
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
    Odd(
        "number-for-status",
        _batch(indexing_status=7, total_segments=3),
        ('dify_document_indexing_status{{{document},status="unknown"}} 1', "dify_document_segments{{{document}}} 3"),
        ignored=("indexing_status",),
    ),
    _ignored("negative-number", "total_segments", "-5"),
    _ignored("string-for-number", "total_segments", '"12"'),
    _ignored("true-for-number", "completed_at", "true"),
    _ignored("1e400", "total_segments", "1e400"),
    _ignored("2-to-the-63", "total_segments", str(2**63)),
    _ignored("300-digits", "total_segments", "1" + "0" * 299),
    _ignored("time-beyond-all-calendars", "completed_at", "1e300"),
    _ignored("time-before-1970", "completed_at", "-1e300"),
    Odd("fraction-for-count", _batch(total_segments=2.5), ("dify_document_segments{{{document}}} 2.5",)),
    Odd(
        "text-for-a-size",
        _detail(
            name="a.txt",
            tokens=9,
            dataset_process_rule={
                "mode": "custom",
                "rules": {"segmentation": {"max_tokens": 5, "chunk_overlap": "50"}},
            },
        ),
        ("dify_document_tokens{{{document}}} 9", 'name="a.txt"'),
        ignored=("chunk_overlap",),
    ),
    Odd("empty-batch", _nothing),
    Odd("document-twice", _twice, ('dify_document_indexing_status{{{document},status="waiting"}} 1',)),
    Odd("name-with-newline-and-nul", _detail(name='a\nb\0c\\"'), ('name="a\\nb\0c\\\\\\""',)),
    Odd("name-from-right-to-left", _detail(name="\u202efdp.exe\u2066"), ('name="\u202efdp.exe\u2066"',)),
    Odd("name-of-1-MiB", _detail(name="n" * MIB), ('name="nnn',)),
)
