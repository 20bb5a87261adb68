"""The poll intervals of all targets."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from exporter.polling.intervals import PollInterval
from exporter.polling.target_intervals import PollIntervals
from exporter.tracking.targets import Target

targets = st.builds(
    Target, st.sampled_from(["batch", "dataset", "detail", "segments"]), st.just("d"), st.sampled_from("abc")
)
states = st.sampled_from(["active", "settled", "failing", "gone"])


@given(st.lists(st.tuples(st.sampled_from(["add", "note", "drop"]), targets, states)))
def test_the_counts_are_those_of_the_targets(steps: list[tuple[str, Target, str]]) -> None:
    """After any calls, each target counts once, in its state; follow-ups do not count."""
    book = PollIntervals()
    known: dict[Target, PollInterval] = {}
    for step, target, state in steps:
        if step == "add":
            assert book.add(target) == (target not in known)
            known.setdefault(target, PollInterval())
        elif step == "note":
            known[target] = PollInterval(5.0, state)  # type: ignore[arg-type]
            book.note(target, known[target])
        else:
            book.drop(target)
            known.pop(target, None)
        assert book.of(target) == known.get(target, PollInterval())
        assert (target in book) == (target in known)
    own = {target: pace for target, pace in known.items() if not target.is_step}
    assert book.counts() == Counter((target.kind, pace.state) for target, pace in own.items())
    assert book.targets() == set(own)
    assert book.all() == known
