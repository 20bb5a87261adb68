"""All subjects by name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from bench.fuzz.canned import Answer, Body
from bench.fuzz.files import ConfigFile, WebFile
from bench.fuzz.polled import Poll
from bench.fuzz.requested import Request

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bench.fuzz.limits import Subject

SUBJECTS: Final[Mapping[str, type[Subject]]] = {
    "body": Body,
    "answer": Answer,
    "poll": Poll,
    "config": ConfigFile,
    "web": WebFile,
    "request": Request,
}

SHARES: Final[Mapping[str, float]] = {
    "body": 0.59,
    "answer": 0.10,
    "poll": 0.02,
    "config": 0.09,
    "web": 0.10,
    "request": 0.10,
}
"""Share of all inputs per subject, by the cost of an input: from a tenth of a millisecond to several milliseconds."""
