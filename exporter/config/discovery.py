"""Which knowledge bases are discovered."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from exporter.config.model import Server


def discovers(server: Server, dataset_id: str, name: str) -> bool:
    """Whether to look for unfinished documents in a knowledge base of that id and name.

    What the dataset itself says counts before what the server says. The patterns belong to the server.
    """
    own = next((dataset.discover for dataset in server.datasets if dataset.id == dataset_id), None)
    if own is not None:
        return own
    included = not server.discover_include or _fits(name, server.discover_include)
    return server.discover and included and not _fits(name, server.discover_exclude)


def _fits(name: str, patterns: Iterable[str]) -> bool:
    folded = name.casefold()
    return any(fnmatchcase(folded, pattern.casefold()) for pattern in patterns)
