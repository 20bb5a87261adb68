"""A short run of what ``python -m bench.fuzz`` does for long, and proof that it would find something."""

from __future__ import annotations

import hashlib
import logging
import re
import sys
from contextlib import closing
from importlib.util import find_spec
from random import Random
from typing import TYPE_CHECKING

import pytest
import structlog

from bench.fuzz import __main__ as command
from bench.fuzz.limits import LONGEST, Watch
from bench.fuzz.mutation import Mutator
from bench.fuzz.subjects import SHARES, SUBJECTS
from bench.fuzz.trial import attempt
from tests.bench import fragile
from tests.integration.harness import skip_unless_ci

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SHORT = {"body": 2_000, "answer": 500, "poll": 80, "config": 400, "web": 400, "request": 250}
"""Inputs that take little longer than the start of their processes."""


@pytest.fixture
def _logging() -> Iterator[None]:
    """Logging as it was, at the end: subjects set it up as the exporter does."""
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    yield
    root.handlers, root.level = handlers, level
    structlog.reset_defaults()


@pytest.fixture
def _atheris() -> None:
    """The engine, which is not to be had for every Python and every machine."""
    if find_spec("atheris") is None:
        skip_unless_ci("atheris is not installed")


@pytest.mark.usefixtures("_logging")
@pytest.mark.parametrize("name", SUBJECTS)
def test_the_kept_inputs_are_borne(name: str) -> None:
    """What once broke something does not any more, nor does any other input that a search begins with."""
    with closing(Watch(SUBJECTS[name]())) as watch:
        outcomes = {watch.take(data) for data in watch.subject.seeds}

    assert len(outcomes) > 4


@pytest.mark.usefixtures("_atheris")
@pytest.mark.parametrize("name", SUBJECTS)
def test_nothing_is_found(name: str, tmp_path: Path) -> None:
    """Some hundred changed inputs are borne."""
    report = attempt(SUBJECTS[name], tmp_path, seed=2, inputs=SHORT[name])

    assert None is report.finding, report.finding
    assert SHORT[name] == report.inputs
    assert report.coverage > 100
    assert report.corpus > 20
    assert [] == list(tmp_path.iterdir())


def test_every_subject_has_its_share() -> None:
    """All inputs are given out."""
    assert set(SUBJECTS) == set(SHARES)
    assert 1.0 == pytest.approx(sum(SHARES.values()))


def test_the_same_random_numbers_give_the_same_change() -> None:
    """What was found can be found again; other numbers give other inputs; none is too long."""

    def inputs(seed: int) -> list[bytes]:
        mutator = Mutator((b"word",), b"\n--\n", lambda part, _longest: part + b"!")
        random = Random(seed)  # noqa: S311 no secret
        return [mutator.change(b'{"a": [1, 2]}\n--\nx: y\n', LONGEST, random) for _ in range(300)]

    assert inputs(1) == inputs(1)
    assert inputs(1) != inputs(2)
    assert LONGEST >= max(map(len, inputs(1)))
    assert 50 < len(set(inputs(1)))


def test_one_part_is_changed_at_a_time() -> None:
    """Values of JSON and lines are changed within their part; libFuzzer changes no more than there is room for."""
    json, lines = b'{"a":[1,2]}', b"x: 1\ny: 2"
    rooms: set[int] = set()

    def rest(part: bytes, longest: int) -> bytes:
        rooms.add(longest)
        return part[::-1]

    mutator = Mutator((b"word",), b"--", rest)
    random = Random(1)  # noqa: S311 no secret
    changed = [tuple(mutator.change(json + b"--" + lines, 60, random).split(b"--")) for _ in range(3_000)]

    assert {(each, lines) for each in (b"{}", b'{"a":[1,null]}', b'{"a":[1,2],"word":[1,2]}', json[::-1])} <= {*changed}
    assert {(json, each) for each in (b"y: 2", b"x: 1\n  y: 2", b"x: 1\ny: 2\nx: 1", lines[::-1])} <= {*changed}
    assert {60 - 2 - len(lines), 60 - 2 - len(json), 60} == rooms


@pytest.mark.usefixtures("_atheris")
@pytest.mark.parametrize(
    ("kind", "name", "why"),
    [
        (fragile.Raising, "crash", "KeyError: 'b'"),
        (fragile.Slow, "crash", "s of CPU, the limit is 2 s"),
        (fragile.Greedy, "crash", "raised the peak of memory by 12"),
        (fragile.Leaking, "crash", " MiB, to 2"),
        (fragile.Leaving, "death", "exit code 3"),
        (fragile.Crashing, "crash", "deadly signal"),
        (fragile.Endless, "timeout", r"timeout after ([5-9]|\d{2,}) seconds"),
    ],
)
def test_what_breaks_is_found(kind: type[fragile.Sturdy], name: str, why: str, tmp_path: Path) -> None:
    """A process that raises, grows, ends or hangs leaves the input behind that did it, and tells how."""
    report = attempt(kind, tmp_path, seed=1, inputs=1_000, timeouts=5 if kind is fragile.Endless else 60)

    assert report.finding is not None
    assert [report.finding.path] == list(tmp_path.iterdir())
    data = report.finding.path.read_bytes()
    assert f"found-{name}-{hashlib.sha1(data).hexdigest()}" == report.finding.path.name  # noqa: S324 no secret
    assert b"b" in data
    assert re.search(why, report.finding.why)
    assert 1 < report.inputs < 1_000


@pytest.mark.usefixtures("_atheris")
def test_a_subject_that_cannot_begin_is_told(tmp_path: Path) -> None:
    """Nothing tried is not nothing found."""
    with pytest.raises(RuntimeError, match="no input was tried"):
        attempt(int, tmp_path, seed=1, inputs=10)  # type: ignore[arg-type]


@pytest.mark.usefixtures("_atheris")
def test_a_finding_fails_the_command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """Exit code 1, a row that counts it, the file and the traceback; the other subjects are tried all the same."""
    monkeypatch.setattr(command, "SUBJECTS", {"body": fragile.Raising, "web": fragile.Sturdy})
    monkeypatch.setattr(command, "SEEDS", tmp_path)
    monkeypatch.setattr(sys, "argv", ["fuzz", "--inputs", "1000"])

    assert 1 == command.main()
    captured = capsys.readouterr()
    rows = [line.split(" | ") for line in captured.out.splitlines() if " | " in line]
    assert [("| subject", "findings |"), ("| body", "1 |"), ("| web", "0 |")] == [(row[0], row[-1]) for row in rows]
    (found,) = (tmp_path / "body").iterdir()
    assert str(found) in captured.err
    assert "KeyError: 'b'" in captured.err
