"""Which knowledge bases are discovered."""

from __future__ import annotations

from dataclasses import replace

import pytest

from exporter.config import Dataset, Server, discovers

ON = Server("main", "https://api.dify.ai/v1", discover=True)
OFF = replace(ON, discover=False)


@pytest.mark.parametrize(
    ("server", "expected"),
    [
        (ON, True),
        (OFF, False),
        (replace(ON, datasets=(Dataset("a"),)), True),
        (replace(OFF, datasets=(Dataset("a"),)), False),
        (replace(ON, datasets=(Dataset("a", discover=False),)), False),
        (replace(OFF, datasets=(Dataset("a", discover=True),)), True),
        (replace(ON, datasets=(Dataset("b", discover=False),)), True),
        (replace(OFF, datasets=(Dataset("b", discover=True),)), False),
        (replace(ON, discover_include=("hand*",)), True),
        (replace(ON, discover_include=("*foot*", "?ANDBOOK 1")), True),
        (replace(ON, discover_include=("book",)), False),
        (replace(ON, discover_exclude=("*BOOK*",)), False),
        (replace(ON, discover_exclude=("[a-g]*",)), True),
        (replace(ON, discover_include=("*",), discover_exclude=("*1",)), False),
        (replace(OFF, discover_include=("*",)), False),
        (replace(ON, discover_exclude=("*",), datasets=(Dataset("a", discover=True),)), True),
        (replace(ON, discover_exclude=("*",), datasets=(Dataset("a", ("1",)),)), False),
    ],
)
def test_what_is_discovered(server: Server, expected: bool) -> None:
    """The dataset's own word first, then the server's, bounded by its patterns for names in any case."""
    assert expected == discovers(server, "a", "Handbook 1")
