"""Invariants for any sequence of answers about a batch."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.tracking.events import Finished, Restarted, Resumed, Stalled
from exporter.tracking.model import STATUSES, Progress
from tests.tracking.batch_history import BatchHistory

times = st.none() | st.integers(0, 400)
progresses = st.builds(
    Progress,
    st.sampled_from(STATUSES),
    times,
    times,
    times,
    times,
    times,
    times,
    times,
    st.none() | st.integers(0, 20),
    st.none() | st.integers(0, 20),
    st.booleans(),
)
steps = st.lists(
    st.tuples(st.integers(0, 2000), st.dictionaries(st.sampled_from("abc"), progresses, min_size=1)), max_size=12
)


@given(steps)
def test_progress_never_moves_back_in_time_and_no_end_is_reported_twice(
    histories: list[tuple[int, dict[str, Progress]]],
) -> None:
    """For any answers, the last progress never decreases, and between two ends of a document there is a restart."""
    history = BatchHistory()
    seconds, latest = 0, 0.0
    ended: dict[str, bool] = {}
    for gap, answer in histories:
        seconds += gap
        told = len(history.events)
        history.at(seconds).answer(**answer)
        assert history.batch is not None
        assert history.batch.last_progress >= latest
        latest = history.batch.last_progress
        for document in history.documents.values():
            assert document.last_progress <= latest
        assert history.batch.eta is None or history.batch.eta >= history.now.wall - 1
        for event in history.events[told:]:
            if isinstance(event, Finished):
                assert not ended.get(event.document.document_id)
                ended[event.document.document_id] = True
            elif isinstance(event, Restarted):
                ended[event.document.document_id] = False
        # A document that returns to the batch after leaving it counts as new.
        ended = {name: end for name, end in ended.items() if name in answer}
    verdicts = [type(event) for event in history.events if isinstance(event, (Stalled, Resumed))]
    assert verdicts == [Stalled, Resumed] * (len(verdicts) // 2) + [Stalled] * (len(verdicts) % 2)


@settings(max_examples=50)
@given(steps, st.randoms(use_true_random=False))
def test_the_order_of_documents_in_an_answer_does_not_matter(
    histories: list[tuple[int, dict[str, Progress]]], random: Any
) -> None:
    """``data`` is unordered: objects and events are the same for any order."""
    one, other = BatchHistory(), BatchHistory()
    seconds = 0
    for gap, answer in histories:
        seconds += gap
        shuffled = list(answer.items())
        random.shuffle(shuffled)
        one.at(seconds).answer(**answer)
        other.at(seconds).answer(**dict(shuffled))
        assert other.batch == one.batch
        assert other.documents == one.documents


@given(steps)
def test_a_document_is_stalled_only_with_its_batch_and_while_unfinished(
    histories: list[tuple[int, dict[str, Progress]]],
) -> None:
    """A document is stalled exactly if its batch is stalled and it is active."""
    history = BatchHistory()
    seconds = 0
    for gap, answer in histories:
        seconds += gap
        history.at(seconds).answer(**answer)
        history.at(seconds + gap / 2).again()
        for document in history.documents.values():
            unfinished = document.progress.status not in {"completed", "error", "paused"}
            assert document.stalled == (history.stalled and unfinished)
        seconds += gap
