"""Strategies for random objects, a parser for their page, and the expected values computed from the catalog alone."""

from __future__ import annotations

import gzip
import math
from typing import TYPE_CHECKING, Any

from hypothesis import strategies as st
from prometheus_client.openmetrics.parser import text_string_to_metric_families as read_openmetrics
from prometheus_client.parser import text_string_to_metric_families as read_text

from exporter.config import ERROR_REASONS as REASONS
from exporter.metrics import CATALOG, IDENTITY, Exposition, Family, Format, SelfMetrics
from exporter.tracking.counters import PHASE_BOUNDS, PHASES
from exporter.tracking.model import (
    DISPLAY_STATUSES,
    KINDS,
    STATUSES,
    Batch,
    Dataset,
    DatasetCounters,
    Detail,
    Distribution,
    Document,
    ProcessRule,
    Progress,
    ServerStatus,
    TargetStatus,
    Tracked,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from exporter.tracking.model import Change

Values = dict[tuple[str, frozenset[tuple[str, str]]], float]


class NoSelfMetrics(SelfMetrics):
    """Self metrics without lines."""

    def render(self, fmt: Format) -> bytes:
        """Nothing, in any format."""
        assert isinstance(fmt, Format)
        return b""


def page_text(exposition: Exposition, fmt: Format = Format.TEXT) -> str:
    """The page, read from gzip; the plain form must be equal."""
    page = exposition.page(fmt)
    packed, plain = b"".join(page.gzip_chunks()), b"".join(page.plain_chunks())
    assert (len(packed), len(plain)) == (page.gzip_length, page.plain_length)
    assert plain == gzip.decompress(packed)
    return plain.decode()


def parse_page(text: str, fmt: Format) -> Values:
    """The values of a page by series, as parsed by prometheus-client; each series occurs once."""
    families = read_openmetrics(text) if fmt is Format.OPENMETRICS else read_text(text)  # type: ignore[no-untyped-call]
    samples = [sample for family in families for sample in family.samples]
    values = {(sample.name, frozenset(sample.labels.items())): float(sample.value) for sample in samples}
    assert len(samples) == len(values)
    return values


def valid(value: str) -> str:
    """``value`` with U+FFFD for what UTF-8 cannot encode."""
    return "".join("\ufffd" if "\ud800" <= character <= "\udfff" else character for character in value)


def expected_values(objects: Iterable[Tracked]) -> Values:
    """The values that the catalog yields for the objects, without blocks, pieces or rendering."""
    values: Values = {}
    for obj in objects:
        identity = {name: getattr(obj, name) for name in IDENTITY[type(obj)]}
        for family in CATALOG:
            if isinstance(obj, family.of):
                for extra, value in family.samples(obj):
                    labels = identity | dict(zip(family.labels, extra, strict=True))
                    for suffix, more, number in expected_samples(family, value):
                        key = family.name + suffix, frozenset((k, valid(v)) for k, v in (labels | more).items())
                        values[key] = float(number)
    return values


def expected_samples(family: Family, value: Any) -> Iterator[tuple[str, dict[str, str], float]]:
    """The samples of one value: suffix, additional labels, number. A histogram has many."""
    if not isinstance(value, Distribution):
        yield "", {}, value
        return
    for position, bound in enumerate((*family.bounds, math.inf)):
        le = "+Inf" if bound == math.inf else str(float(bound))
        yield "_bucket", {"le": le}, sum(value.counts[: position + 1])
    yield "_sum", {}, value.total
    yield "_count", {}, sum(value.counts)


text = st.text(st.characters(exclude_categories=()), max_size=12) | st.sampled_from(
    [
        '"',
        "\\",
        "\n",
        '\\n"',
        'a"} 1\nb{c="',
        "\r\n",
        "\x00",
        "\u2028",
        "\x85",
        "🦆 名前",
        "\ud800",
        "# EOF\n",
        " ,=}{ ",
    ]
)
numbers = st.none() | st.integers(0, 2**53) | st.floats(-1e12, 1e12) | st.just(1795282993)
flags = st.none() | st.booleans()
ids = st.sampled_from(["a", "b", 'c"\\\n', "d\ud800"])
progresses = st.builds(Progress, st.sampled_from(STATUSES), *[numbers] * 9, has_error=st.booleans())
rules = st.none() | st.builds(ProcessRule, text, text, text, numbers, numbers, numbers)
details = st.none() | st.builds(
    Detail,
    *[text] * 5,
    st.none() | st.sampled_from([*DISPLAY_STATUSES, "never heard of"]),
    *[numbers] * 9,
    flags,
    flags,
    st.booleans(),
    rules,
)
times = st.just(0.0) | st.floats(1, 2e9)
documents = st.builds(
    Document,
    ids,
    ids,
    ids,
    text,
    progresses,
    details,
    last_progress=times,
    stalled=st.booleans(),
    last_progress_monotonic=times,
)
batches = st.builds(
    Batch,
    ids,
    ids,
    ids,
    st.just(()),
    st.tuples(*[st.integers(0, 99)] * len(STATUSES)),
    numbers,
    numbers,
    last_progress=times,
    stalled=st.booleans(),
    eta=st.none() | times,
)
datasets = st.builds(
    Dataset,
    ids,
    ids,
    text,
    text,
    text,
    st.just(()) | st.tuples(*[st.none() | st.integers(0, 99)] * len(DISPLAY_STATUSES)),
)
distributions = st.builds(Distribution, st.tuples(*[st.integers(0, 99)] * (len(PHASE_BOUNDS) + 1)), st.floats(0, 1e12))
counters = st.builds(
    DatasetCounters,
    ids,
    ids,
    st.dictionaries(st.tuples(ids, st.sampled_from(REASONS)), st.integers(0, 99), max_size=3).map(
        lambda counts: tuple(counts.items())
    ),
    st.integers(0, 99),
    st.dictionaries(st.sampled_from(PHASES), distributions, max_size=3).map(lambda seen: tuple(seen.items())),
)
targets = st.builds(TargetStatus, ids, st.sampled_from(KINDS), ids, ids, flags, st.none() | st.floats(0, 2e9), numbers)
servers = st.builds(ServerStatus, ids, text, text, flags)
objects = documents | batches | datasets | counters | targets | servers
answers = st.lists(st.lists(st.tuples(objects, st.booleans()), max_size=6), max_size=8)


def key_of(obj: Tracked) -> tuple[Any, ...]:
    """The identity of an object."""
    return (type(obj), *[getattr(obj, name) for name in IDENTITY[type(obj)]])


def changes_of(known: dict[tuple[Any, ...], Tracked], answer: Sequence[tuple[Tracked, bool]]) -> list[Change]:
    """Turn drawn objects into changes of ``known``: added, changed, removed."""
    changes: list[Change] = []
    for obj, keep in answer:
        old = known.pop(key_of(obj), None)
        if keep:
            known[key_of(obj)] = obj
            changes.append((old, obj))
        elif old is not None:
            changes.append((old, None))
    return changes
