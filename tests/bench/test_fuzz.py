"""A short run of what ``python -m bench.fuzz`` does for long, and proof that it would find something."""

from __future__ import annotations

import logging
import os
import threading
from contextlib import closing
from random import Random
from typing import TYPE_CHECKING

import pytest
import structlog

from bench.fuzz.explore import explore
from bench.fuzz.mutation import LONGEST, Mutator
from bench.fuzz.process import Trial
from bench.fuzz.subjects import SHARES, SUBJECTS

if TYPE_CHECKING:
    from collections.abc import Iterator

SHORT = {"body": 3_000, "answer": 350, "poll": 80, "config": 900, "web": 500, "request": 250}
"""Inputs that take some three seconds together."""


@pytest.fixture
def _logging() -> Iterator[None]:
    """Logging as it was, at the end: subjects set it up as the exporter does."""
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    yield
    root.handlers, root.level = handlers, level
    structlog.reset_defaults()


@pytest.mark.usefixtures("_logging")
@pytest.mark.parametrize("name", SUBJECTS)
def test_nothing_is_found(name: str) -> None:
    """The kept inputs, those that once broke something among them, and some hundred changed ones are borne."""
    with closing(SUBJECTS[name]()) as subject:
        report = explore(subject, seed=2, inputs=SHORT[name])

    assert None is report.finding, report.finding
    assert SHORT[name] == report.inputs
    assert report.outcomes > 5


def test_every_subject_has_its_share() -> None:
    """All inputs are given out."""
    assert set(SUBJECTS) == set(SHARES)
    assert 1.0 == pytest.approx(sum(SHARES.values()))


def test_the_same_seed_gives_the_same_inputs() -> None:
    """What was found can be found again; another seed finds other things; no input is too long."""
    corpus = [b'{"a": [1, 2]}\n--\nx: y\n', b"abc"]

    def inputs(seed: int) -> list[bytes]:
        mutator = Mutator(Random(seed), corpus, (b"word",), b"\n--\n")  # noqa: S311 no secret
        return [mutator.draw() for _ in range(300)]

    assert inputs(1) == inputs(1)
    assert inputs(1) != inputs(2)
    assert LONGEST >= max(map(len, inputs(1)))
    assert 200 < len(set(inputs(1)))


class Fragile:
    """Breaks in a way of its own at an input that holds a ``b``."""

    separator = b""

    def __init__(self) -> None:
        self.seeds = [b"a", b"aaa"]
        self.words = (b"b",)

    def take(self, data: bytes) -> str:
        """Look for it."""
        if b"b" in data:
            self.end()
        return str(len(data))

    def end(self) -> None:
        """Break."""
        raise KeyError("b")

    def close(self) -> None:
        """Nothing to end."""


class Deadly(Fragile):
    """Takes the process with it."""

    def end(self) -> None:
        """As a crash in C does."""
        os._exit(3)


class Endless(Fragile):
    """Never ends."""

    def end(self) -> None:
        """Wait for what does not come."""
        threading.Event().wait()


class Greedy(Fragile):
    """Takes all memory that there is."""

    def end(self) -> None:
        """More than the limit, and touched."""
        self.taken = bytearray(os.urandom(1024)) * (512 * 1024)


def test_an_exception_is_found() -> None:
    """An input that raises what is not documented ends the search and is handed over."""
    finding = explore(Fragile(), seed=1, inputs=1_000).finding
    assert finding is not None
    assert b"b" in finding.data
    assert "KeyError" in finding.why


@pytest.mark.parametrize(
    ("subject", "why"),
    [(Deadly, "exit code 3"), (Endless, "did not end"), (Greedy, "peak of memory")],
    ids=["crash", "hang", "memory"],
)
def test_what_a_process_does_not_survive_is_found(subject: type[Fragile], why: str) -> None:
    """A process that ends, hangs or grows leaves the input behind that did it."""
    trial = Trial("fragile", 1, 1_000, subject)
    trial.start()
    while (report := trial.look(0.1, patience=1.0)) is None:
        pass
    assert report.finding is not None
    assert why in report.finding.why
    assert b"b" in report.finding.data
