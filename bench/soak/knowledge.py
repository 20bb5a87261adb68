"""The knowledge bases of the two servers, and how the exporter comes to know of what is in them."""

from __future__ import annotations

from typing import Final, Literal, NamedTuple

ServerName = Literal["bad", "good"]
Mode = Literal["listed", "mixed", "discovered", "quick", "bulk"]

SERVERS: Final[tuple[ServerName, ...]] = ("bad", "good")
"""One misbehaves, the other does not. Otherwise the same happens on both."""

KEYS: Final = {"bad": "dataset-soak", "good": "dataset-good"}
OTHER_KEY: Final = "dataset-another-workspace"
"""The key of another workspace of the misbehaving server."""

MODES: Final[tuple[Mode, ...]] = ("listed", "mixed", "discovered", "quick", "bulk")
"""What a permanent knowledge base is for.

- ``listed``: all batches are in a batch file, and discovery is off.
- ``mixed``: most batches are in the file, and discovery is on.
- ``discovered``: discovery only. It must be found, and stay through every reload.
- ``quick``: discovery only, private, and most documents end within a second.
- ``bulk``: discovery only; hundreds of finished documents that are set to indexing at once.
"""


class KnowledgeBase(NamedTuple):
    """A permanent knowledge base, in which every finished document must be counted. Others come and go."""

    server: ServerName
    mode: Mode

    @property
    def id(self) -> str:
        """Its id."""
        return f"5f1d9a2e-6c0b-4d5e-9a43-0c9b7e2d1{SERVERS.index(self.server)}0{MODES.index(self.mode)}"


PERMANENT: Final = tuple(KnowledgeBase(server, mode) for server in SERVERS for mode in MODES)
BY_ID: Final = {each.id: each for each in PERMANENT}


def permanent(server: ServerName) -> tuple[KnowledgeBase, ...]:
    """Those of one server."""
    return tuple(each for each in PERMANENT if each.server == server)
