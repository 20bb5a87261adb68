"""The log: events with keys, as logfmt or JSON lines on standard error."""

from __future__ import annotations

import logging
import sys
from typing import TYPE_CHECKING, Any

import structlog

if TYPE_CHECKING:
    from structlog.typing import EventDict, Processor

LEVELS = ("debug", "info", "warning", "error")
FORMATS = ("logfmt", "json")

_NOISY = ("urllib3", "charset_normalizer", "asyncio", "schedule")


def set_up_logging(level: str, log_format: str) -> None:
    """Send the exporter's events, and what its libraries log from warnings up, to standard error."""
    shared: list[Processor] = [
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="ts"),
    ]
    last: list[Processor] = [structlog.stdlib.ProcessorFormatter.remove_processors_meta]
    if log_format == "json":
        last += [structlog.processors.dict_tracebacks, _name_event, structlog.processors.JSONRenderer()]
    else:
        last += [
            structlog.processors.format_exc_info,
            _name_event,
            _one_line,
            structlog.processors.LogfmtRenderer(key_order=["ts", "level", "msg"], drop_missing=True),
        ]
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(structlog.stdlib.ProcessorFormatter(processors=last, foreign_pre_chain=shared))
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level.upper())
    for name in _NOISY:
        logging.getLogger(name).setLevel(logging.WARNING)
    structlog.configure(
        processors=[structlog.stdlib.filter_by_level, *shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,
    )


def _name_event(_logger: Any, _method: str, event: EventDict) -> EventDict:
    """The event's text is called ``msg``, as in Prometheus' own logs."""
    event["msg"] = event.pop("event", "")
    return event


def _one_line(_logger: Any, _method: str, event: EventDict) -> EventDict:
    r"""A value keeps its line breaks as ``\\n``: one event, one line."""
    for key, value in event.items():
        if isinstance(value, str) and ("\n" in value or "\r" in value):
            event[key] = value.replace("\r", "\\r").replace("\n", "\\n")
    return event
