"""The present interval of every target, and the counts by state."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from exporter.polling import TARGET_TYPES, Target, TargetStatuses
from exporter.polling.intervals import PollInterval
from tests.polling.fake_server import RecordingListener

targets = st.builds(Target, st.sampled_from(TARGET_TYPES), st.just("d"), st.sampled_from("abc"))
states = st.sampled_from(["active", "settled", "failing", "gone"])


@given(st.lists(st.tuples(st.sampled_from(["add", "put", "remove"]), targets, states)))
def test_the_counts_are_those_of_the_targets(steps: list[tuple[str, Target, str]]) -> None:
    """Whatever happens, each target counts once, in its state; follow-ups do not count."""
    statuses = TargetStatuses("main", listener=RecordingListener())
    known: dict[Target, PollInterval] = {}
    for step, target, state in steps:
        if step == "add":
            if target.type.is_follow_up:
                continue
            assert statuses.add([target, target]) == [target][: target not in known]
            known.setdefault(target, PollInterval())
        elif step == "put":
            if not target.type.is_follow_up and target not in known:
                continue
            known[target] = PollInterval(5.0, state)  # type: ignore[arg-type]
            statuses.put_interval(target, known[target])
        else:
            statuses.remove([target])
            known.pop(target, None)
        assert statuses.interval(target) == known.get(target, PollInterval())
        assert (target in statuses.intervals()) == (target in known)
    watched = {target: interval for target, interval in known.items() if not target.type.is_follow_up}
    assert statuses.counts() == Counter((target.type.label, interval.state) for target, interval in watched.items())
    assert set(statuses.all()) == set(watched)
    assert len(statuses) == len(watched)
    assert statuses.intervals() == known
