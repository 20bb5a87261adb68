"""Recorded lifecycles of real batches compared with simulated ones of the same kind."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from exporter.simulator import Action, DocumentPlan, Rule

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

TRACES = sorted((Path(__file__).parent.parent / "recordings" / "traces").glob("*.jsonl"))
STEP = 0.05
FAILING = DocumentPlan(name="broken.pdf", outcome="fails", phase="parsing", parse=0.5)
KINDS = {
    "blank": (DocumentPlan(segments=0, characters=7),),
    "fail": (FAILING,),
    "file": (DocumentPlan(segments=45),),
    "hier": (DocumentPlan(segments=54, rule=Rule(mode="hierarchical")),),
    "large": (DocumentPlan(segments=3939, parse=0.2, split=23, index=28),),
    "medium": (DocumentPlan(segments=481, split=2, index=2),),
    "multi": tuple(DocumentPlan(name=f"{number}", segments=47, split=0.6, index=0.6) for number in range(5)),
    "multifail": (DocumentPlan(name="1"), DocumentPlan(name="2"), FAILING),
    "reupload": (DocumentPlan(segments=41),),
    "small": (DocumentPlan(segments=12, split=0.4, index=0.4),),
}

PAUSES = (  # paused before its turn and resumed; paused when abandoned; paused and resumed when abandoned
    Action(kind="pause", document="1", at=1.2),
    Action(kind="resume", document="1", at=20),
    Action(kind="pause", document="2", at=20),
    Action(kind="pause", document="3", at=30),
    Action(kind="resume", document="3", at=31),
)

Sign = tuple[Any, ...]


def sign(item: dict[str, Any]) -> Sign:
    """The comparable part of a state: the status, which times are set, how the counts relate."""
    total, completed = item["total_segments"], item["completed_segments"]
    counts = ("some" if total else "none", "all" if completed == total else "zero" if not completed else "part")
    times = tuple(item[field] is not None for field in sorted(item) if field.endswith("_at"))
    return (item["indexing_status"], times, counts, item["error"] is not None)


def without_repeats(signs: Iterable[Sign]) -> list[Sign]:
    """The sequence without consecutive repeats."""
    found: list[Sign] = []
    for each in signs:
        if not found or found[-1] != each:
            found.append(each)
    return found


def is_part(few: list[Sign], many: list[Sign]) -> bool:
    """Whether ``few`` occurs in ``many`` as a subsequence."""
    rest = iter(many)
    return all(each in rest for each in few)


def recorded(path: Path) -> list[list[dict[str, Any]]]:
    """The answers of a trace."""
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return [line["json"]["data"] for line in lines if line["status"] == 200]


def simulated(simulate: Callable[..., Any], kind: str, actions: tuple[Action, ...] = ()) -> list[list[dict[str, Any]]]:
    """The same kind of lifecycle, sampled very densely."""
    simulation = simulate(*KINDS[kind], queue=1.0, actions=actions)
    batch = "20261121173517669864"
    if kind == "reupload":
        simulation.after(60).act("reupload", into="20261121190000000001")
        batch = "20261121190000000001"
    return [simulation.after(STEP).items(batch) for _ in range(1200)]


def lifecycles(answers: list[list[dict[str, Any]]]) -> list[list[Sign]]:
    """The states of each document, in order."""
    ids = {item["id"] for answer in answers for item in answer}
    return [without_repeats(sign(item) for answer in answers for item in answer if item["id"] == each) for each in ids]


@pytest.fixture(scope="module")
def possible(simulate: Callable[..., Any]) -> dict[str, list[list[Sign]]]:
    """The possible simulated lifecycles, by kind."""
    found = {kind: lifecycles(simulated(simulate, kind)) for kind in KINDS}
    found["multi"] += lifecycles(simulated(simulate, "multi", PAUSES))
    return found


@pytest.mark.parametrize("path", TRACES, ids=lambda path: path.stem)
def test_a_real_lifecycle_is_one_of_the_simulated(possible: dict[str, list[list[Sign]]], path: Path) -> None:
    """The sequence of states of every real document is a subsequence of a simulated one."""
    kind = path.stem.split("-", maxsplit=1)[0]
    for lifecycle in lifecycles(recorded(path)):
        assert any(is_part(lifecycle, each) for each in possible[kind]), lifecycle


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_real_and_simulated_batches_move_alike(simulate: Callable[..., Any], kind: str) -> None:
    """In both, one document at a time splits or indexes, total never decreases, and simulation times do not change."""
    real = [recorded(path) for path in TRACES if path.stem.startswith(f"{kind}-")]
    assert real
    for answers in [*real, simulated(simulate, kind)]:
        for answer in answers:
            assert sum(item["indexing_status"] in ("splitting", "indexing") for item in answer) <= 1
            started = [item["processing_started_at"] or 0 for item in answer]
            assert max(started) - min(started) <= 1  # one instant, written row by row: a second may end in between
        for before, after in pairwise(answers):
            previous = {item["id"]: item for item in before}
            for item in after:
                was = previous[item["id"]]
                if was["indexing_status"] != "waiting":
                    assert was["total_segments"] <= item["total_segments"]
                    if kind != "reupload":
                        assert was["parsing_completed_at"] in (None, item["parsing_completed_at"])
                    assert item["cleaning_completed_at"] == item["splitting_completed_at"]
