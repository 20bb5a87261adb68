"""Shared by the metrics tests: a full document, an exposition, promtool."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest

from exporter.metrics import Exposition, Format, SelfMetrics
from exporter.tracking.model import Detail, Document, ProcessRule, Progress
from tests.integration.harness import tool

if TYPE_CHECKING:
    from collections.abc import Callable


class FixedMetrics(SelfMetrics):
    """Self metrics with fixed lines."""

    lines = b"# HELP own_up Fixed.\n# TYPE own_up gauge\nown_up 1\n"

    def render(self, fmt: Format) -> bytes:
        """The same lines in both formats."""
        assert isinstance(fmt, Format)
        return self.lines


@pytest.fixture
def exposition() -> Exposition:
    """An empty exposition whose self metrics are one fixed line."""
    return Exposition(self_metrics=FixedMetrics())


@pytest.fixture
def document() -> Document:
    """A document with every field set."""
    return Document(
        server="main",
        dataset_id="ds",
        document_id="doc",
        batch="b1",
        progress=Progress(
            status="indexing",
            processing_started_at=11,
            parsing_completed_at=12,
            cleaning_completed_at=13.5,
            splitting_completed_at=14,
            completed_at=15,
            paused_at=16,
            stopped_at=17,
            completed_segments=3,
            total_segments=10,
        ),
        detail=Detail(
            name='a "b"\\c\nd',
            data_source_type="upload_file",
            doc_form="text_model",
            doc_language="English",
            created_from="api",
            display_status="indexing",
            created_at=1,
            updated_at=2,
            disabled_at=3,
            tokens=4,
            word_count=5,
            hit_count=6,
            segment_count=7,
            average_segment_length=8.25,
            indexing_latency=9.5,
            enabled=True,
            archived=False,
            rule=ProcessRule("custom", "\n\n", "paragraph", 500, 50, 200),
        ),
        last_progress=1795282470.1239,
        stalled=True,
    )


@pytest.fixture
def promtool() -> Callable[[bytes], tuple[int, str]]:
    """A function that passes a page to ``promtool check metrics``; returns exit code and output."""
    program = tool("promtool")

    def check(page: bytes) -> tuple[int, str]:
        done = subprocess.run([program, "check", "metrics"], input=page, capture_output=True, check=False, timeout=60)
        return done.returncode, (done.stdout + done.stderr).decode()

    return check
