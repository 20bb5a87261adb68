"""What servers of different Dify versions do differently: every quirk, once."""

from __future__ import annotations

from typing import NamedTuple

Version = tuple[int, ...]

DOCUMENT_FILTER: Version = (1, 10, 1)
"""The first version whose document list filters by ``status``; earlier ones ignore it and return everything."""

DOCUMENT_DETAILS: Version = (1, 5, 1)
"""The first version with ``GET /datasets/{dataset_id}/documents/{document_id}``."""

SINGLE_DATASETS: Version = (1, 2)
"""The first version with ``GET /datasets/{dataset_id}``."""


class Quirk(NamedTuple):
    """What servers from version ``since`` up to, but not including, ``until`` do. ``text`` follows "this version"."""

    since: Version
    until: Version
    text: str


QUIRKS = (
    Quirk((), DOCUMENT_DETAILS, "has no document details: names, sizes and rules of documents have no series"),
    Quirk(
        (), SINGLE_DATASETS, "does not return single knowledge bases: only discovery of all of them finds their names"
    ),
    Quirk(
        (),
        DOCUMENT_FILTER,
        "cannot filter documents by status: discovery searches the newest 200 of each knowledge base",
    ),
    Quirk(
        (1, 9),
        (1, 12, 2),
        "looks a dataset up before it checks the key: with a wrong dataset id, a wrong key shows as not found",
    ),
)


def parse_version(text: str) -> Version:
    """The numbers of a version such as "1.12.1"; () when there are none."""
    return tuple(int(part) for part in text.split(".")[:3] if part.isdecimal())


def quirks_of(version: str) -> list[str]:
    """The quirks of a server; none when its version is unknown."""
    numbers = parse_version(version)
    return [quirk.text for quirk in QUIRKS if numbers and quirk.since <= numbers < quirk.until]


def filters_documents(version: str) -> bool:
    """Whether the document list filters by status; taken for granted when the version is unknown."""
    numbers = parse_version(version)
    return len(numbers) < len(DOCUMENT_FILTER) or numbers >= DOCUMENT_FILTER
