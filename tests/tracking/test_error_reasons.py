"""Error reasons of failed documents, for texts as Dify, its plugins, its stores and model providers write them."""

from __future__ import annotations

import re
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.config import ERROR_REASONS as REASONS
from exporter.tracking.error_reasons import MAX_TEXT, PATTERNS, Pattern, classify

if TYPE_CHECKING:
    from collections.abc import Iterator

TEXTS = Path(__file__).with_name("error_texts.txt")


def cases() -> Iterator[tuple[str, str]]:
    """The texts, one per line, below their expected reason."""
    reason = ""
    for line in TEXTS.read_text(encoding="utf-8").splitlines():
        if heading := re.fullmatch(r"\[([a-z_]+)\]", line):
            reason = heading[1]
        elif line:
            yield reason, line


CASES = list(cases())


@pytest.mark.parametrize(("reason", "text"), CASES)
def test_reason(reason: str, text: str) -> None:
    """The reason names the component that has to be examined."""
    assert reason == classify(text)


@pytest.mark.parametrize(
    ("reason", "text"),
    [
        ("unsupported", "Package not found at '/tmp/tmp429/quota model plugin redis.docx'"),
        ("unsupported", "Package not found at 'rate limit/quota.docx'"),
        ("unsupported", "Package not found at 'too many requests, throttled 2026.docx'"),
        ("unsupported", "Unable to open /mnt/redis/timed-out/quota"),
        ("unsupported", "File is not a zip file: C:\\uploads\\model-not-found\\timeout.xlsx"),
        ("unsupported", "Unsupported file format: quota-429-too-many-requests.odt"),
        ("storage", "No such file or directory: /app/api/storage/plugin_daemon/timed-out/quota.pdf"),
        ("other", 'File "/app/api/core/model_manager.py", line 429, in plugin_timeout.py: KeyError'),
        ("unsupported", "Failed to load document: see https://docs.example.com/quota/rate-limits?model=not-found"),
    ],
)
def test_names_of_files_do_not_count(reason: str, text: str) -> None:
    """File names and paths chosen by users do not affect the reason."""
    assert reason == classify(text)


@pytest.mark.parametrize("text", [None, "", " ", "\n"])
def test_no_text(text: str | None) -> None:
    """A failure without a text has the reason ``other``."""
    assert "other" == classify(text)


def test_every_reason_has_texts() -> None:
    """Each reason is tested with several texts, more than forty in all."""
    counts = Counter(reason for reason, _ in CASES)

    assert {*REASONS} == counts.keys()
    assert min(counts.values()) >= 5
    assert counts.total() > 40


def test_the_text_of_a_document_does_not_count() -> None:
    """A failed statement quotes the document: only the database's own message counts."""
    text = (
        "(psycopg2.errors.StringDataRightTruncation) value too long for type character varying(255)\n"
        "[SQL: INSERT INTO document_segments (content) VALUES (%(content)s)]\n"
        "[parameters: {'content': 'our quota and rate limit policy: 429 Too Many Requests'}]"
    )

    assert "storage" == classify(text)


@pytest.mark.parametrize(("reason", "text"), CASES)
def test_line_breaks_do_not_matter(reason: str, text: str) -> None:
    """A text has the same reason wherever it is wrapped between words."""
    assert reason == classify("\n  " + text.replace(" ", "\n"))


def test_a_long_text_is_cut() -> None:
    """Only the beginning of a long text counts, and it is not more expensive than a short one."""
    long = "x " * 500_000
    started = time.process_time()

    assert "other" == classify(long + "quota")
    assert "quota" == classify("quota " + long)
    assert "other" == classify("y" * (MAX_TEXT - 4) + " quota")
    assert time.process_time() - started < 1.0


@pytest.mark.parametrize(
    "unit", ["a", "/", "a/", "a.", ".pdf", "'", "'a.", "model ", "balance ", "https://", "dim ", "[", "1"]
)
def test_no_text_makes_it_slow(unit: str) -> None:
    """No text makes the search for patterns slow."""
    started = time.process_time()
    for _ in range(5):
        classify(unit * (1_000_000 // len(unit)))

    assert time.process_time() - started < 1.0


@given(st.text(max_size=200))
def test_any_text_has_a_reason(text: str) -> None:
    """Every text has one of the reasons that have series."""
    assert classify(text) in REASONS


def test_every_reason_but_other_has_a_pattern() -> None:
    """The pattern table and the list of reasons match."""
    assert {*REASONS} - {"other"} == {pattern.reason for pattern in PATTERNS}


def test_own_patterns_see_the_whole_text() -> None:
    """Configured patterns come first and search the unmodified text, including paths and links."""
    own = Pattern(re.compile("/mnt/nfs/").search, "storage")
    text = "Failed to load document '/mnt/nfs/a.pdf'"

    assert "unsupported" == classify(text)
    assert "storage" == classify(text, (own, *PATTERNS))
