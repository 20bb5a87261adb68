"""Parses and checks pages, in a separate process so that the scrapers are not slowed down."""

from __future__ import annotations

import gzip
import hashlib
import re
import time
from collections import Counter
from typing import TYPE_CHECKING, Final, NamedTuple

from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from bench.soak.knowledge import SERVERS

if TYPE_CHECKING:
    from collections.abc import Iterator

MOST_REMEMBERED: Final = 200
SHARE: Final = 0.2
"""Maximum share of the time that is spent on parsing; from the other pages, only some values are read."""

ABSURD: Final = 1e16
"""No value is larger; NaN and infinity are none at all."""

_LABEL = re.compile(r'([a-z_]+)="((?:[^"\\]|\\.)*)"')


class Reading(NamedTuple):
    """What a page says about the two servers.

    - ``ends``: finished documents by server, knowledge base and status
    - ``stalled``: server, knowledge base, ``document`` or ``batch``, and id
    - ``lag``, ``up``, ``polls``, ``failures``: by server; failures without those of deleted objects
    - ``problem``: what is wrong with the page; "" if nothing, None: it was not checked
    """

    ends: dict[tuple[str, str, str], int]
    stalled: frozenset[tuple[str, str, str, str]]
    lag: dict[str, float]
    up: dict[str, float]
    polls: dict[str, float]
    failures: dict[str, float]
    problem: str | None = None


class Reader:
    """Reads pages; one that was seen recently is not parsed again, and parsing has its share of the time."""

    def __init__(self) -> None:
        self._begun = time.monotonic()
        self._spent = 0.0
        self._remembered: dict[bytes, None] = {}

    def read(self, body: bytes, *, packed: bool, openmetrics: bool) -> Reading:
        """Read a page."""
        text = gzip.decompress(body) if packed else body
        digest = hashlib.blake2b(text, digest_size=16).digest()
        known = digest in self._remembered
        self._remembered[digest] = None
        if len(self._remembered) > MOST_REMEMBERED:
            del self._remembered[next(iter(self._remembered))]
        if known or self._spent > SHARE * (time.monotonic() - self._begun) + 1.0:
            return read_values(text.decode())
        begun = time.process_time()
        problem = check_page(text, openmetrics=openmetrics)
        self._spent += time.process_time() - begun
        return read_values(text.decode())._replace(problem=problem)


_reader = Reader()


def read_page(body: bytes, *, packed: bool, openmetrics: bool) -> Reading:
    """Read a page with the reader of this process."""
    return _reader.read(body, packed=packed, openmetrics=openmetrics)


def check_page(text: bytes, *, openmetrics: bool) -> str:
    """What is wrong with a page; "" if it is correct."""
    try:
        families = list((parse_openmetrics if openmetrics else parse_text)(text.decode()))
        series = [(sample.name, tuple(sorted(sample.labels.items()))) for each in families for sample in each.samples]
    except Exception as error:  # noqa: BLE001 whatever the parser does not bear
        return f"{type(error).__name__}: {error}"
    if len(set(series)) != len(series):
        return "duplicate series"
    for family in families:
        for sample in family.samples:
            if not abs(sample.value) <= ABSURD:
                return f"{sample.name} is {sample.value}"
    if not families:
        return "no metrics"
    return ""


def read_values(text: str) -> Reading:
    """The values on a page; the page is not checked."""
    ends: Counter[tuple[str, str, str]] = Counter()
    for labels, value in _samples(text, "dify_documents_finished_total"):
        if labels["server"] in SERVERS:
            ends[labels["server"], labels["dataset_id"], labels["status"]] += int(value)
    stalled = set()
    for name, kind, id_ in (
        ("dify_document_stalled", "document", "document_id"),
        ("dify_batch_stalled", "batch", "batch"),
    ):
        for labels, value in _samples(text, name):
            if value and labels["server"] in SERVERS:
                stalled.add((labels["server"], labels["dataset_id"], kind, labels[id_]))
    failures: dict[str, float] = {}
    for labels, value in _samples(text, "dify_exporter_poll_failures_total"):
        if labels["reason"] != "not_found":
            failures[labels["server"]] = failures.get(labels["server"], 0.0) + value
    polls: dict[str, float] = {}
    for labels, value in _samples(text, "dify_exporter_polls_total"):
        polls[labels["server"]] = polls.get(labels["server"], 0.0) + value
    lag = {labels["server"]: value for labels, value in _samples(text, "dify_exporter_schedule_lag_seconds")}
    up = {labels["server"]: value for labels, value in _samples(text, "dify_up")}
    return Reading(dict(ends), frozenset(stalled), lag, up, polls, failures)


def _samples(text: str, name: str) -> Iterator[tuple[dict[str, str], float]]:
    """The samples of one metric, whose lines stand together."""
    beginning = f"\n{name}{{"
    at = text.find(beginning)
    while at >= 0:
        end = text.find("\n", at + 1)
        line = text[at + len(beginning) : end if end >= 0 else len(text)]
        labels, _, value = line.rpartition("} ")
        if value != "0" or name not in ("dify_document_stalled", "dify_batch_stalled"):
            yield dict(_LABEL.findall(labels)), float(value)
        at = text.find(beginning, end) if end >= 0 else -1
