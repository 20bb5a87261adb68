"""What servers of different Dify versions do differently: every quirk, once."""

from __future__ import annotations

import re
from typing import NamedTuple


class Quirk(NamedTuple):
    """What servers from version ``since`` up to, but not including, ``until`` do. ``text`` follows "this version"."""

    since: tuple[int, ...]
    until: tuple[int, ...]
    text: str

    def affects(self, version: str) -> bool:
        """Whether a server of that version has the quirk; False if the version is unknown ("")."""
        numbers = tuple(int(number) for number in re.findall(r"[0-9]+", version)[:3])
        return bool(numbers) and self.since <= numbers < self.until


NO_DOCUMENT_DETAILS = Quirk(
    (), (1, 5, 1), "has no document details: names, sizes and rules of documents have no series"
)
NO_SINGLE_DATASETS = Quirk(
    (), (1, 2), "does not return single knowledge bases: only discovery of all of them finds their names"
)
IGNORES_STATUS_FILTER = Quirk(
    (), (1, 10, 1), "cannot filter documents by status: discovery searches the newest 200 of each knowledge base"
)
CHECKS_DATASET_BEFORE_KEY = Quirk(
    (1, 9),
    (1, 12, 2),
    "looks a dataset up before it checks the key: with a wrong dataset id, a wrong key shows as not found",
)

QUIRKS = (NO_DOCUMENT_DETAILS, NO_SINGLE_DATASETS, IGNORES_STATUS_FILTER, CHECKS_DATASET_BEFORE_KEY)
