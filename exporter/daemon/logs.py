"""The log: events with keys, written as logfmt or JSON lines to standard error."""

from __future__ import annotations

import json
import logging
import re
import sys
from typing import TYPE_CHECKING, Any

import structlog
from structlog.processors import ExceptionRenderer, JSONRenderer, TimeStamper, format_exc_info
from structlog.tracebacks import ExceptionDictTransformer

if TYPE_CHECKING:
    from structlog.typing import EventDict, Processor

LEVELS = ("debug", "info", "warning", "error")
FORMATS = ("logfmt", "json")

_LIBRARY_LEVELS = {"charset_normalizer": "WARNING", "asyncio": "WARNING", "schedule": "WARNING", "urllib3": "CRITICAL"}
"""urllib3 logs headers that it cannot parse, with their values: the cookie that Dify sends contains the API key."""

_FIRST = ("ts", "level", "msg")
_BARE = re.compile(r'[^\s"=\\]+')


def set_up_logging(level: str, log_format: str) -> None:
    """Send the exporter's events, and warnings and errors of its libraries, to standard error."""
    shared: list[Processor] = [structlog.stdlib.add_log_level, TimeStamper(fmt="iso", utc=True, key="ts")]
    last: list[Processor] = [structlog.stdlib.ProcessorFormatter.remove_processors_meta, _name_event]
    if log_format == "json":
        # Without the local variables of stack frames: they may contain the API key.
        last += [ExceptionRenderer(ExceptionDictTransformer(show_locals=False)), JSONRenderer()]
    else:
        last += [format_exc_info, _logfmt]
    handler = logging.StreamHandler(sys.stderr)
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
