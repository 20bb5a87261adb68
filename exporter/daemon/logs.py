"""The log: events with keys, written as logfmt or JSON lines to standard error."""

from __future__ import annotations

import atexit
import json
import logging
import re
import sys
from typing import TYPE_CHECKING, Any

import structlog
from structlog.processors import ExceptionRenderer, JSONRenderer, TimeStamper, format_exc_info
from structlog.tracebacks import ExceptionDictTransformer

from exporter.daemon.log_writer import LogHandler, LogWriter

if TYPE_CHECKING:
    from typing import TextIO

    from structlog.typing import EventDict, Processor

LEVELS = ("debug", "info", "warning", "error")
FORMATS = ("logfmt", "json")

_LIBRARY_LEVELS = {"charset_normalizer": "WARNING", "asyncio": "WARNING", "schedule": "WARNING", "urllib3": "CRITICAL"}
"""urllib3 logs headers that it cannot parse, with their values: the cookie that Dify sends contains the API key."""

FLUSH_TIMEOUT = 2.0
"""Seconds that the end of the process waits for the reader of the log."""

_FIRST = ("ts", "level", "msg")
_BARE = re.compile(r'[^\s"=\\]+')

_writers: dict[int, LogWriter] = {}
"""The writers by descriptor. There is one, unless standard error is replaced, which only tests do."""

_log = structlog.get_logger(__name__)


def set_up_logging(level: str, log_format: str) -> None:
    """Send the exporter's events, and warnings and errors of its libraries, to standard error.

    A thread writes them, so that nothing waits for the reader. The end of the process waits for it, but not long.
    """
    shared: list[Processor] = [structlog.stdlib.add_log_level, TimeStamper(fmt="iso", utc=True, key="ts")]
    last: list[Processor] = [structlog.stdlib.ProcessorFormatter.remove_processors_meta, _name_event]
    if log_format == "json":
        # Without the local variables of stack frames: they may contain the API key.
        last += [ExceptionRenderer(ExceptionDictTransformer(show_locals=False)), JSONRenderer()]
    else:
        last += [format_exc_info, _logfmt]
    handler = _handler(sys.stderr)
    handler.setFormatter(structlog.stdlib.ProcessorFormatter(processors=last, foreign_pre_chain=shared))
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level.upper())
    for name, minimum in _LIBRARY_LEVELS.items():
        logging.getLogger(name).setLevel(minimum)
    structlog.configure(
        processors=[structlog.stdlib.filter_by_level, *shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,
    )


def flush_log() -> None:
    """Wait until everything that was logged is written, unless the reader has stopped."""
    for writer in _writers.values():
        writer.flush(FLUSH_TIMEOUT)


def dropped_log_lines() -> int:
    """How many lines were dropped because they could not be written."""
    return sum(writer.dropped for writer in _writers.values())


def _handler(stream: TextIO | None) -> logging.Handler:
    if stream is None:  # the process was started without standard error
        return logging.NullHandler()
    try:
        descriptor = stream.fileno()
    except (OSError, ValueError):
        return logging.StreamHandler(stream)  # in memory: nobody reads it, so nothing can wait
    if descriptor not in _writers:
        if not _writers:
            atexit.register(flush_log)
        _writers[descriptor] = LogWriter(descriptor, on_resumed=_report_dropped)
    return LogHandler(_writers[descriptor])


def _report_dropped(lines: int) -> None:
    _log.warning(
        "log lines were dropped: standard error could not be written, or its reader was stopped or too slow",
        lines=lines,
    )


def _name_event(_logger: Any, _method: str, event: EventDict) -> EventDict:
    """Put time, level and text first; the text of the event is called ``msg``, as in Prometheus' own logs."""
    event["msg"] = event.pop("event", "")
    return {**{key: event[key] for key in _FIRST}, **event}


def _logfmt(_logger: Any, _method: str, event: EventDict) -> str:
    """One line per event; line breaks in values are escaped. Values that are None are omitted."""
    return " ".join(f"{key}={_word(value)}" for key, value in event.items() if value is not None)


def _word(value: object) -> str:
    """The value unquoted if no logfmt parser can misread it, otherwise quoted as in JSON.

    Unprintable characters are escaped: a document name may contain control sequences for a terminal.
    """
    text = str(value).lower() if isinstance(value, bool) else str(value)
    if text.isprintable():
        return text if _BARE.fullmatch(text) else json.dumps(text, ensure_ascii=False)
    return json.dumps(text)
