"""The log: one line per event, in a machine-readable format."""

from __future__ import annotations

import contextlib
import errno
import io
import json
import logging
import os
import re
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from exporter.config import Secret
from exporter.daemon.logs import FORMATS, LEVELS, dropped_log_lines, flush_log, set_up_logging

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

KEY = "dataset-nobody-may-see-this"

_PAIR = re.compile(r'([a-z_]+)=("(?:[^"\\]|\\.)*"|[^ "=\\]*)(?: |$)')
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")


@pytest.fixture(autouse=True)
def _restore_logging() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


def _read(line: str, log_format: str) -> dict[str, str]:
    """The keys and values of a line, as a parser of its format reads them. AssertionError if it is not one line."""
    if log_format == "json":
        found = json.loads(line)
        assert isinstance(found, dict)
        return found
    pairs = list(_PAIR.finditer(line))
    assert line == "".join(pair[0] for pair in pairs)
    return {pair[1]: json.loads(pair[2]) if pair[2].startswith('"') else pair[2] for pair in pairs}


def _logged(act: Callable[[], object], log_format: str, level: str = "info") -> list[str]:
    """The lines that ``act`` logs."""
    stream = io.StringIO()
    with contextlib.redirect_stderr(stream):
        set_up_logging(level, log_format)
    act()
    text = stream.getvalue()
    assert "" == text or text.endswith("\n")
    return text.split("\n")[:-1]


@pytest.mark.parametrize("log_format", FORMATS)
def test_an_event_is_a_line(log_format: str) -> None:
    """Time in UTC, level and text come first, then the event's keys; Go and Python can parse the time."""
    log = structlog.get_logger("any")
    (line,) = _logged(lambda: log.warning("target not found", server="main", retry_in=15, known=True), log_format)
    event = _read(line, log_format)

    assert ["ts", "level", "msg", "server", "retry_in", "known"] == list(event)
    assert _TIME.fullmatch(event["ts"])
    assert ("warning", "target not found", "main") == (event["level"], event["msg"], event["server"])


def test_logfmt_quotes_only_where_necessary() -> None:
    """Simple values are not quoted, so that lines are easy to read and grep; booleans are words, None is omitted."""
    log = structlog.get_logger("any")
    (line,) = _logged(lambda: log.info("done", path="/metrics", share=0.5, ok=True, name="答疑.md", no=None), "logfmt")

    assert line.endswith(" level=info msg=done path=/metrics share=0.5 ok=true name=答疑.md")


@pytest.mark.parametrize("log_format", FORMATS)
@given(text=st.text())
def test_any_text_can_be_parsed_back(log_format: str, text: str) -> None:
    """Every document name, with quotes, line breaks or escapes, results in one line that parses back to it."""
    log = structlog.get_logger("any")
    lines = _logged(lambda: log.info("document failed", name=text, after="end"), log_format)

    assert 1 == len(lines)
    assert text == _read(lines[0], log_format)["name"]
    assert "end" == _read(lines[0], log_format)["after"]


@pytest.mark.parametrize("text", ["\x1b[2J", "a\rb", "\x9b31m", "\u2028", "\u202e"])
@pytest.mark.parametrize("log_format", FORMATS)
def test_control_characters_are_escaped(log_format: str, text: str) -> None:
    """Control characters in a name are escaped."""
    log = structlog.get_logger("any")
    (line,) = _logged(lambda: log.info("document failed", name=text), log_format)

    assert line.isprintable()


def _fail() -> None:
    key = KEY
    raise ValueError(f"a message of\ntwo lines, {len(key)}")


def _log_a_failure() -> None:
    try:
        _fail()
    except ValueError:
        structlog.get_logger("any").exception("poll failed", key=Secret(KEY))
        logging.getLogger("uvicorn.error").exception("the web server %s", "failed")


@pytest.mark.parametrize("log_format", FORMATS)
def test_a_traceback_is_part_of_its_line(log_format: str) -> None:
    """A failure with its traceback is one line, also one of a library, and says where and what."""
    lines = _logged(_log_a_failure, log_format)
    events = [_read(line, log_format) for line in lines]

    assert ["poll failed", "the web server failed"] == [event["msg"] for event in events]
    assert all("_fail" in str(event["exception"]) for event in events)
    assert all("a message of\\ntwo lines" in line for line in lines)


@pytest.mark.parametrize("log_format", FORMATS)
def test_no_secrets(log_format: str) -> None:
    """The API key is never logged: not as a value and not as a local variable in a traceback."""
    lines = _logged(_log_a_failure, log_format)

    assert 2 == len(lines)
    assert not any(KEY in line for line in lines)


@pytest.mark.parametrize("level", LEVELS)
def test_level(level: str) -> None:
    """Events below the level are not logged."""
    log = structlog.get_logger("any")

    def act() -> None:
        for each in LEVELS:
            getattr(log, each)(each)

    shown = [_read(line, "logfmt")["level"] for line in _logged(act, "logfmt", level)]

    assert list(LEVELS[LEVELS.index(level) :]) == shown


def test_libraries_log_warnings_and_errors_only() -> None:
    """At level debug, asyncio's debug messages are not logged but its warnings are."""
    log = logging.getLogger("asyncio")

    def act() -> None:
        log.debug("starting new connection")
        log.warning("retrying")

    assert ["retrying"] == [_read(line, "logfmt")["msg"] for line in _logged(act, "logfmt", "debug")]


def test_lines_that_could_not_be_written_are_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once standard error can be written again, one line says how many were dropped; the metric counts them."""
    log = structlog.get_logger("any")
    before = dropped_log_lines()
    with (tmp_path / "log").open("w") as stream, contextlib.redirect_stderr(stream):
        set_up_logging("info", "logfmt")
        with monkeypatch.context() as patched:
            patched.setattr(os, "write", _refuse)
            log.info("one")
            log.info("two")
            flush_log()
        log.info("three")
        flush_log()
    events = [_read(line, "logfmt") for line in (tmp_path / "log").read_text().splitlines()]

    assert ["three", "log lines were dropped"] == [event["msg"].partition(":")[0] for event in events]
    assert "2" == events[1]["lines"]
    assert 2 == dropped_log_lines() - before


def _refuse(_: int, __: memoryview) -> int:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_nothing_is_lost_at_the_end() -> None:
    """The end of the process waits until everything is written."""
    program = """
import structlog
from exporter.daemon.logs import set_up_logging
set_up_logging("info", "logfmt")
for number in range(3000):
    structlog.get_logger().info("one of many", number=number)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)

    assert [str(number) for number in range(3000)] == [
        _read(line, "logfmt")["number"] for line in done.stderr.splitlines()
    ]
