"""The random parts of a soak test: documents, and faults of the server."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, cast

from exporter.simulator import DocumentPlan

if TYPE_CHECKING:
    from random import Random

SPEED: Final = 720.0
"""Seconds on the API's clock per real second: an hour stands for 30 days."""

ERRORS: Final = (
    "[openai] Rate Limit Error, Error code: 429 - {'message': 'Rate limit reached'}",
    "PDFium: Data format error. /tmp/tmpq0aw1\nsecond line",
    "HTTPConnectionPool(host='plugin', port=5002): Read timed out. " + "x" * 2_000,
)
_NAMES = ("Report {}.pdf", 'The "new" {}\\.docx', "报告 {}.md", "a\nb {}\t.txt", "\u202e{}.exe", "🚒 {}")

FAULTS: Final[tuple[dict[str, Any], ...]] = (
    {"kind": "status", "status": 500, "body": '{"message": "Internal Server Error", "code": "unknown", "status": 500}'},
    {"kind": "status", "status": 503},
    {"kind": "status", "status": 429, "headers": {"Retry-After": "1"}},
    {"kind": "status", "status": 401, "body": '{"code": "unauthorized", "message": "Access token is invalid"}'},
    {"kind": "status", "status": 403, "body": '{"code": "forbidden", "message": "No permission."}'},
    {"kind": "html", "status": 404},
    {"kind": "html", "status": 502},
    {"kind": "html"},
    {"kind": "json", "body": '{"data": 5}'},
    {"kind": "json", "body": '{"data": [{"id": null}], "total": 1e400}'},
    {"kind": "empty"},
    {"kind": "redirect"},
    {"kind": "delay", "seconds": 3.0},
    {"kind": "delay", "seconds": 0.5},
    {"kind": "drip", "seconds": 0.5},
    {"kind": "cut", "where": "before"},
    {"kind": "cut", "where": "headers"},
    {"kind": "cut", "where": "body"},
    {"kind": "truncated"},
    {"kind": "huge", "size": 40_000_000, "times": 3},
    {"kind": "gzip_bomb", "size": 40_000_000, "times": 3},
    {"kind": "length", "size": 100_000},
    {"kind": "plugin_down"},
    {"kind": "postgres_down"},
    {"kind": "redis_down", "seconds": 0.05},
)


def draw_document(random: Random) -> DocumentPlan:
    """A document of random size and name; most complete, some fail, some are abandoned by their worker."""
    outcome = random.choices(("completes", "fails", "dies"), (80, 15, 5))[0]
    phases: tuple[Any, ...] = ("parsing", "splitting", "indexing")
    return DocumentPlan(
        name=random.choice(_NAMES).format(random.randrange(10_000)),
        segments=random.choice((0, 1, 20, 400, 9_000)),
        parse=random.uniform(0.1, 2.0) * SPEED,
        split=random.uniform(0.1, 2.0) * SPEED,
        index=random.uniform(0.5, 9.0) * SPEED,
        missing=random.choice((0, 0, 0, 5)),
        outcome=cast("Any", outcome),
        phase=random.choice(phases),
        error=random.choice(ERRORS),
    )
