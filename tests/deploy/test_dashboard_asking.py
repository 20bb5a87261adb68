"""Queries for a dashboard, as Grafana would send them: variables in queries, names in lists, steps."""

from __future__ import annotations

from typing import Any

import pytest

from deploy.grafana.asking import ALL, Option, Span, interpolate, options, select
from deploy.grafana.dashboard import DATASET, JOB, NEWEST_BATCH


class Canned:
    """A Prometheus with fixed answers that records its requests."""

    def __init__(self, **answers: Any) -> None:
        """``answers``: by the last segment of the path."""
        self._answers = answers
        self.asked: list[dict[str, str]] = []

    def get(self, path: str, **parameters: str) -> Any:
        """The answer for that path."""
        self.asked.append(parameters)
        return self._answers[path.split("/", maxsplit=1)[0]]


def _series(**labels: str) -> Canned:
    metric = {"__name__": "dify_dataset_info", **dict(sorted(labels.items()))}
    return Canned(query={"result": [{"metric": metric}]})


def test_variables_are_put_in() -> None:
    """Both notations are replaced; undeclared variables are kept."""
    assert 'a{x="1",y=~"2"} $z' == interpolate('a{x="$x",y=~"${y:regex}"} $z', {"x": "1", "y": "2"})


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("Handbook", "Handbook"),
        ('Tickets of "north" and "south"', 'Tickets of "north" and "south"'),
        ("a, b", "a, b"),
    ],
)
def test_knowledge_base_is_shown_by_name(name: str, shown: str) -> None:
    """Names may contain any characters, and Prometheus may add any labels after them."""
    prometheus = _series(dataset_id="0-1", embedding_model="m", job="j", name=name, namespace="n", server="s")

    assert [Option(shown, "0-1")] == options(DATASET, {}, prometheus)


def test_nameless_is_shown_by_id() -> None:
    """Without a name, the id is both text and value."""
    assert [Option("0-1", "0-1")] == options(DATASET, {}, _series(dataset_id="0-1", server="s"))


def test_newest_batch_is_first() -> None:
    """Batch ids start with their time, so the list is in descending order."""
    prometheus = Canned(label=["20250101000000000001", "20260101000000000001"])

    assert ["20260101000000000001", "20250101000000000001"] == [
        option.value for option in options(NEWEST_BATCH, {}, prometheus)
    ]


def test_all_of_a_variable() -> None:
    """All is every option, escaped for a regular expression in a PromQL string, unless the variable sets a value."""
    chosen = select({"uid": "u", "templating": {"list": [JOB]}}, Canned(label=["a.b", "c"]), {"job": ALL})
    everything = {**DATASET, "name": "job"}

    assert r"(a\\.b|c)" == chosen.values["job"]
    assert ".*" == select({"uid": "u", "templating": {"list": [everything]}}, _series(), {}).values["job"]


def test_choice_that_is_not_offered() -> None:
    """An unknown option is rejected with a message that lists the options."""
    with pytest.raises(LookupError, match="variable job of u offers"):
        select({"uid": "u", "templating": {"list": [JOB]}}, Canned(label=["a"]), {"job": "b"})


@pytest.mark.parametrize(
    ("hours", "least", "expected"),
    [
        (3, "", {"__interval": "36s", "__rate_interval": "120s", "__range": "10800s"}),
        (3, "1m", {"__interval": "60s", "__rate_interval": "120s", "__range": "10800s"}),
        (24, "1m", {"__interval": "288s", "__rate_interval": "318s", "__range": "86400s"}),
    ],
)
def test_intervals(hours: int, least: str, expected: dict[str, str]) -> None:
    """A step is one pixel or the minimum; a rate covers at least four scrapes, and one scrape more than a step."""
    assert expected == Span(0, hours * 3600).intervals(least)
