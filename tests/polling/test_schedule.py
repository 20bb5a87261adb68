"""The schedule of due times."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from exporter.polling import BATCH_STATUS, DOCUMENT_DETAIL, Target
from exporter.polling.schedule import Schedule, next_due

A, B, C = (Target(BATCH_STATUS, "d", name) for name in "abc")
DETAIL = Target(DOCUMENT_DETAIL, "d", "x")


def test_targets_are_taken_in_the_order_of_their_due_times() -> None:
    """The most overdue target comes first; a target that is not due is not returned."""
    schedule = Schedule()
    schedule.put(A, 3.0)
    schedule.put(B, 1.0)
    schedule.put(C, 9.0)
    assert [schedule.take(5.0), schedule.take(5.0), schedule.take(5.0)] == [(B, 1.0), (A, 3.0), None]


def test_a_target_is_never_handed_out_twice() -> None:
    """A target that is being polled is not returned again, however often it is put."""
    schedule = Schedule()
    schedule.put(A, 1.0)
    schedule.put(A, 0.5)
    assert schedule.take(5.0) == (A, 0.5)
    schedule.put(A, 2.0)
    assert schedule.take(5.0) is None
    schedule.done(A, 60.0)
    assert schedule.take(5.0) == (A, 2.0)
    schedule.done(A, 60.0)
    assert schedule.take(59.0) is None
    assert len(schedule) == 1


def test_a_latest_due_time_delays_nothing_and_restores_nothing() -> None:
    """Hastening moves no target to a later time and adds no unknown target."""
    schedule = Schedule()
    schedule.put(A, 9.0)
    schedule.bring_forward(A, 5.0)
    schedule.bring_forward(A, 7.0)
    assert schedule.next_due() == 5.0
    schedule.take(5.0)
    schedule.bring_forward(A, 20.0)
    schedule.done(A, 60.0)
    assert schedule.next_due() == 20.0
    schedule.take(20.0)
    schedule.remove(A)
    schedule.bring_forward(A, 20.0)
    schedule.bring_forward(B, 20.0)
    assert not schedule.done(A, 60.0)
    assert schedule.next_due() is None


def test_a_removed_target_does_not_come_back() -> None:
    """A target dropped while due or during its poll is not polled again."""
    schedule = Schedule()
    schedule.put(A, 0.0)
    schedule.remove(A)
    assert not schedule.has_due(1.0)
    schedule.put(B, 0.0)
    schedule.take(1.0)
    schedule.remove(B)
    schedule.done(B, 1.0)
    assert schedule.take(9.0) is None
    assert B not in schedule


def test_a_target_that_returns_while_its_poll_is_under_way_is_not_polled_twice() -> None:
    """If a target is dropped and put again during its poll, the poll counts and the next one is as requested."""
    schedule = Schedule()
    schedule.put(A, 0.0)
    schedule.take(1.0)
    schedule.remove(A)
    schedule.put(A, 2.0)
    assert schedule.take(9.0) is None
    assert schedule.done(A, 60.0)
    assert schedule.take(9.0) == (A, 2.0)


def test_done_with_no_due_time_ends_a_target() -> None:
    """Without a due time the target is removed, unless it was put again during its poll."""
    schedule = Schedule()
    schedule.put(A, 0.0)
    schedule.take(0.0)
    schedule.done(A, None)
    assert len(schedule) == 0
    schedule.put(A, 0.0)
    schedule.take(0.0)
    schedule.put(A, 7.0)
    schedule.done(A, None)
    assert schedule.next_due() == 7.0


def test_progress_comes_before_details_but_does_not_starve_them() -> None:
    """While both are due, three of four polls report progress."""
    schedule = Schedule()
    for number in range(6):
        schedule.put(Target(BATCH_STATUS, "d", str(number)), 1.0)
        schedule.put(Target(DOCUMENT_DETAIL, "d", str(number)), 0.0)
    taken = [found[0].type.name for found in (schedule.take(2.0) for _ in range(12)) if found]
    assert taken[:8] == ["batch", "batch", "batch", "detail"] * 2
    assert len(taken) == 12


def test_lag_is_that_of_the_most_overdue_target() -> None:
    """The lag counts from the due time, also for a target that is being polled."""
    schedule = Schedule()
    assert schedule.lag(100.0) == 0.0
    schedule.put(A, 10.0)
    schedule.put(DETAIL, 12.0)
    assert schedule.lag(5.0) == 0.0
    assert schedule.lag(25.0) == 15.0
    schedule.take(25.0)
    assert schedule.lag(30.0) == 20.0
    schedule.done(A, 100.0)
    assert schedule.lag(30.0) == 18.0


def test_punctual_polls_do_not_drift() -> None:
    """After a poll within a tick of its due time, the interval counts from the due time."""
    due = 0.0
    for _ in range(1000):
        due = next_due(due, due + 0.9, 15.0)
    assert due == 15_000.0


def test_a_late_poll_moves_its_phase() -> None:
    """Polls that were late together are spread out in the next round."""
    assert next_due(0.0, 100.0, 15.0) == 114.0


@given(st.lists(st.tuples(st.sampled_from(["put", "take", "done", "drop"]), st.integers(0, 5), st.integers(0, 20))))
def test_every_target_is_in_one_place_only(steps: list[tuple[str, int, int]]) -> None:
    """For any order of calls, a target that was put and not dropped is either due or taken."""
    schedule = Schedule()
    alive: set[Target] = set()
    taken: set[Target] = set()
    for step, number, at in steps:
        target = Target(BATCH_STATUS, "d", str(number))
        if step == "put":
            schedule.put(target, float(at))
            alive.add(target)
        elif step == "drop":
            schedule.remove(target)
            alive.discard(target)
        elif step == "done":
            assert schedule.done(target, float(at)) == (target in taken and target in alive)
            taken.discard(target)
        else:
            found = schedule.take(float(at))
            if found:
                assert found[0] not in taken
                assert found[1] <= at
                taken.add(found[0])
        assert len(schedule) == len(alive)


def test_superseded_entries_do_not_pile_up() -> None:
    """Repeatedly changed due times do not increase memory use."""
    schedule = Schedule()
    for number in range(10_000):
        schedule.put(A, 20_000.0 - number)
    assert sum(map(len, schedule._heaps)) < 100
    assert schedule.take(20_000.0) == (A, 10_001.0)


def test_a_repeated_request_does_not_delay_a_target() -> None:
    """What is asked for again and again keeps its turn."""
    schedule = Schedule()
    schedule.put(A, 1.0)
    schedule.put(B, 2.0)
    schedule.put(A, 3.0)
    assert [schedule.take(5.0), schedule.take(5.0), schedule.take(5.0)] == [(A, 1.0), (B, 2.0), None]
