"""The random parts of a soak test: documents and their attempts. Durations are real seconds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, cast

from exporter.simulator import Attempt, DocumentPlan

if TYPE_CHECKING:
    from random import Random

SHORTEST_ATTEMPT: Final = 30.0
"""Minimum duration of an attempt that nothing but a look at the unfinished document can reveal: longer than the
exporter sees nothing, through a fault, its backoff and a pause of the machine."""

ERRORS: Final = (
    "[openai] Rate Limit Error, Error code: 429 - {'message': 'Rate limit reached'}",
    "PDFium: Data format error. /tmp/tmpq0aw1\nsecond line",
    "HTTPConnectionPool(host='plugin', port=5002): Read timed out. " + "x" * 2_000,
)
_NAMES = ("Report {}.pdf", 'The "new" {}\\.docx', "报告 {}.md", "a\nb {}\t.txt", "\u202e{}.exe", "🚒 {}")
_PHASES: Final = ("parsing", "splitting", "indexing")


def draw_document(random: Random) -> DocumentPlan:
    """A document of random size and name; most complete, some fail, some are abandoned by their worker."""
    outcome = random.choices(("completes", "fails", "dies"), (80, 15, 5))[0]
    return DocumentPlan(
        name=_name(random),
        segments=random.choice((0, 1, 20, 400, 9_000)),
        parse=random.uniform(0.1, 2.0),
        split=random.uniform(0.1, 2.0),
        index=random.uniform(0.5, 9.0),
        missing=random.choice((0, 0, 0, 5)),
        outcome=cast("Any", outcome),
        phase=cast("Any", random.choice(_PHASES)),
        error=random.choice(ERRORS),
    )


def draw_quick_document(random: Random) -> DocumentPlan:
    """A document that ends within a second, before anybody looks: most fail, like broken files or with a wrong key."""
    return DocumentPlan(name=_name(random), **_quick(random, fails=random.random() < 0.7))


def draw_attempt(random: Random) -> Attempt:
    """A new attempt at a document, long enough to be seen."""
    return Attempt(
        parse=random.uniform(SHORTEST_ATTEMPT, 1.3 * SHORTEST_ATTEMPT),
        index=random.uniform(1.0, 5.0),
        outcome=cast("Any", random.choice(("completes", "completes", "fails", "dies"))),
        error=ERRORS[0],
    )


def draw_quick_attempt(random: Random) -> Attempt:
    """A new attempt that ends within a second."""
    return Attempt(**_quick(random, fails=random.random() < 0.7))


def _quick(random: Random, *, fails: bool) -> dict[str, Any]:
    return {
        "parse": random.uniform(0.05, 0.3),
        "split": random.uniform(0.05, 0.2),
        "index": random.uniform(0.05, 0.3),
        "outcome": "fails" if fails else "completes",
        "phase": random.choice(_PHASES),
        "error": random.choice(ERRORS),
    }


def _name(random: Random) -> str:
    return random.choice(_NAMES).format(random.randrange(1_000_000))
