"""The page compared with a plain rendering of the same objects, for any sequence of answers."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from exporter.clock import ManualClock
from exporter.metrics import CATALOG, Exposition, Family, Format, blocks, catalog
from exporter.metrics import exposition as exposition_module
from exporter.metrics.gzip import Deflater
from exporter.tracking.counters import new_counters
from exporter.tracking.model import (
    DISPLAY_STATUSES,
    STATUSES,
    Batch,
    Dataset,
    Detail,
    Document,
    ServerStatus,
    TargetStatus,
    Tracked,
)
from tests.metrics.random_objects import NoSelfMetrics, answers, changes_of, expected_values, page_text, parse_page

if TYPE_CHECKING:
    from collections.abc import Callable

    from exporter.metrics.gzip import Piece


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks of two objects in groups of two, so that a few objects fill many blocks."""
    monkeypatch.setattr(blocks, "SLOTS", 2)
    monkeypatch.setattr(exposition_module, "_GROUP_SIZE", 2)


@pytest.mark.usefixtures("small_blocks")
@given(answers, st.sampled_from(Format), st.data())
def test_parsers_read_the_values_of_the_objects(
    drawn: list[list[tuple[Tracked, bool]]], fmt: Format, data: st.DataObject
) -> None:
    """After any answers, flushed in between or not, prometheus-client reads exactly the values of the known objects."""
    exposition = Exposition(self_metrics=NoSelfMetrics())
    known: dict[tuple[Any, ...], Tracked] = {}
    for answer in drawn:
        exposition.changed(changes_of(known, answer))
        step = data.draw(st.sampled_from(["continue", "flush", "scrape"]))
        if step == "flush":
            exposition.flush(older_than=0.0)
        elif step == "scrape":
            assert expected_values(known.values()) == parse_page(page_text(exposition, fmt), fmt)
    page = page_text(exposition, fmt)

    assert expected_values(known.values()) == parse_page(page, fmt)
    assert exposition.series() == sum(not line.startswith("#") for line in page.split("\n")[:-1])


def test_every_family_of_a_full_document(exposition: Exposition, document: Document) -> None:
    """The exact lines of a document: ints, floats unchanged, flags 1 and 0, complete state sets."""
    exposition.changed([(None, document)])
    seen = [line for line in page_text(exposition).splitlines() if not line.startswith("#")]
    head = 'server="main",dataset_id="ds",document_id="doc"'
    states = {status: int(status == "indexing") for status in STATUSES}
    display = {status: int(status == "indexing") for status in DISPLAY_STATUSES}
    info = (
        r'batch="b1",name="a \"b\"\\c\nd",data_source_type="upload_file",'
        'doc_form="text_model",doc_language="English",created_from="api"'
    )
    plain = """error 0|segments 10|segments_completed 3|processing_started_timestamp_seconds 11
        parsing_completed_timestamp_seconds 12|cleaning_completed_timestamp_seconds 13.5
        splitting_completed_timestamp_seconds 14|completed_timestamp_seconds 15|paused_timestamp_seconds 16
        stopped_timestamp_seconds 17|created_timestamp_seconds 1|updated_timestamp_seconds 2
        disabled_timestamp_seconds 3|tokens 4|characters 5|hits 6|stored_segments 7|average_segment_length 8.25
        indexing_duration_seconds 9.5|enabled 1|archived 0|chunk_max_tokens 500|chunk_overlap_tokens 50
        subchunk_max_tokens 200|last_progress_timestamp_seconds 1795282470.124|stalled 1"""
    expected = [
        f"dify_document_info{{{head},{info}}} 1",
        *[f'dify_document_indexing_status{{{head},status="{s}"}} {v}' for s, v in states.items()],
        *[f'dify_document_display_status{{{head},status="{s}"}} {v}' for s, v in display.items()],
        rf'dify_document_process_rule_info{{{head},mode="custom",separator="\n\n",parent_mode="paragraph"}} 1',
        *[
            f"dify_document_{name}{{{head}}} {value}"
            for name, value in (entry.split() for entry in plain.replace("\n", "|").split("|"))
        ],
        "own_up 1",
    ]

    assert sorted(expected) == sorted(seen)


def test_both_formats_have_the_same_domain_lines(exposition: Exposition, document: Document) -> None:
    """OpenMetrics differs from text only in its end mark if no counter comes from an object."""
    exposition.changed([(None, document)])

    assert page_text(exposition, Format.TEXT) + "# EOF\n" == page_text(exposition, Format.OPENMETRICS)


def test_families_without_samples_are_omitted(exposition: Exposition) -> None:
    """A family appears with its first series and disappears with its last one: no header without a line."""
    up = ServerStatus("main", "http://dify/v1", up=True)
    exposition.changed([(None, up)])
    assert "dify_up" in page_text(exposition)
    assert "dify_batch" not in page_text(exposition)

    exposition.changed([(up, replace(up, up=None))])
    assert "dify_up" not in page_text(exposition)


def test_a_removed_object_has_no_series(exposition: Exposition, document: Document) -> None:
    """The first scrape after an object is removed has none of its series, and its empty block is removed."""
    exposition.changed([(None, document)])
    page_text(exposition)
    exposition.changed([(document, None)])

    assert FixedLines == page_text(exposition)
    assert 0 == exposition.series()
    assert not any(rendered.block_store._blocks for rendered in exposition._rendered)
    assert not any(rendered._groups for rendered in exposition._rendered)


FixedLines = "# HELP own_up Fixed.\n# TYPE own_up gauge\nown_up 1\n"


def test_an_object_added_and_removed_between_scrapes(exposition: Exposition, document: Document) -> None:
    """Removing an object that was never rendered, or removing an object twice, is harmless."""
    exposition.changed([(None, document), (document, None), (document, None), (None, None)])

    assert FixedLines == page_text(exposition)


def test_objects_without_a_family_are_ignored(exposition: Exposition, document: Document) -> None:
    """An object type without families affects neither the poll that brings it nor the rest of the answer."""

    class Stranger:
        pass

    stranger: Any = Stranger()
    exposition.changed([(None, stranger), (None, document), (stranger, None)])

    assert "dify_document_info{" in page_text(exposition)


def test_a_document_that_changes_its_batch_appears_once(exposition: Exposition, document: Document) -> None:
    """A document that moves to another batch is the same document: one info series, with the new batch."""
    exposition.changed([(None, document)])
    exposition.changed([(document, replace(document, batch="b2"))])
    infos = [line for line in page_text(exposition).splitlines() if line.startswith("dify_document_info{")]

    assert [True] == ['batch="b2"' in line for line in infos]


def test_document_names_can_be_disabled(document: Document) -> None:
    """Without ``document_name`` the label exists but is empty, and the name is nowhere on the page."""
    exposition = Exposition(self_metrics=NoSelfMetrics(), document_name=False)
    exposition.changed([(None, document)])

    assert 'batch="b1",name="",data_source_type="upload_file"' in page_text(exposition)
    assert catalog(document_name=False) != CATALOG


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf"), 10**400])
def test_no_series_for_nan_and_infinity(exposition: Exposition, document: Document, value: float) -> None:
    """NaN, infinities and numbers beyond the range of floats have no series and do not affect others."""
    detail = replace(document.detail or Detail(), tokens=value)
    exposition.changed([(None, replace(document, detail=detail))])
    page = page_text(exposition)

    assert "dify_document_tokens" not in page
    assert "dify_document_hits" in page


def test_large_integers(exposition: Exposition, document: Document) -> None:
    """Integers that a float cannot represent are rendered as the nearest float."""
    exposition.changed([(None, replace(document, detail=Detail(tokens=2**60 + 1)))])

    assert 'document_id="doc"} 1.152921504606847e+18' in page_text(exposition)


class CountingDeflater(Deflater):
    """A deflater that counts the pieces it made."""

    def __init__(self) -> None:
        super().__init__()
        self.made = 0

    def piece(self, text: bytes, samples: int = 0) -> Piece:
        """Count the piece."""
        self.made += 1
        return super().piece(text, samples)


def test_a_change_renders_only_what_differs(exposition: Exposition, document: Document) -> None:
    """One new value makes one piece; equal values and an unchanged page make none."""
    exposition.changed([(None, document)])
    page_text(exposition)
    deflater = exposition._deflater = CountingDeflater()
    moved = replace(document, progress=replace(document.progress, completed_segments=4))

    page_text(exposition)
    exposition.changed([(document, replace(document))])
    page_text(exposition)
    assert 0 == deflater.made

    exposition.changed([(document, moved)])
    page_text(exposition)
    assert 1 == deflater.made

    exposition.changed([(moved, replace(moved, detail=None))])
    assert "dify_document_tokens" not in page_text(exposition)
    assert 2 == deflater.made


def test_slots_are_reused(exposition: Exposition, document: Document) -> None:
    """New objects reuse the slots of removed ones before a new block is created."""
    block_store = exposition._block_stores[Document]
    many = [replace(document, document_id=str(n)) for n in range(2 * blocks.SLOTS)]
    exposition.changed([(None, one) for one in many])
    exposition.changed([(one, None) for one in many[::2]])
    exposition.changed([(None, replace(one, document_id=f"new {one.document_id}")) for one in many[::2]])
    page = page_text(exposition)

    assert 2 == len(block_store._blocks)
    assert len(many) == page.count("\ndify_document_info{")


def test_flushing_waits_for_more_changes(document: Document) -> None:
    """Blocks are flushed once they have been dirty for the given time, not at each change."""
    clock = ManualClock()
    exposition = Exposition(self_metrics=NoSelfMetrics(), monotonic=clock.monotonic)
    rendered = next(
        rendered for rendered in exposition._rendered if rendered.block_store is exposition._block_stores[Document]
    )
    exposition.changed([(None, document)])
    clock.advance(0.0625)
    exposition.flush(older_than=0.125)
    assert 0 == rendered.series

    clock.advance(0.0625)
    exposition.flush(older_than=0.125)
    assert rendered.series > 0

    seen = rendered.series
    assert seen == exposition.series()


def test_a_block_that_keeps_changing_is_flushed(document: Document) -> None:
    """The age of a block counts from its first change: later changes do not postpone flushing."""
    clock = ManualClock()
    exposition = Exposition(self_metrics=NoSelfMetrics(), monotonic=clock.monotonic)
    exposition.changed([(None, document)])
    clock.advance(0.0625)
    exposition.changed([(document, replace(document, batch="b2"))])
    clock.advance(0.0625)
    exposition.flush(older_than=0.125)

    assert any(rendered.series for rendered in exposition._rendered)


def test_a_poll_flushes_for_a_short_time_only(document: Document) -> None:
    """When the turn is over, the rest is left to the next poll, and nothing is lost."""
    clock = ManualClock()
    exposition = Exposition(self_metrics=NoSelfMetrics(), monotonic=clock.monotonic)
    exposition.changed([(None, replace(document, document_id=str(n))) for n in range(2 * blocks.SLOTS)])

    class SlowDeflater(CountingDeflater):
        def piece(self, text: bytes, samples: int = 0) -> Piece:
            clock.advance(0.01)
            return super().piece(text, samples)

    exposition._deflater = SlowDeflater()
    rendered = next(
        rendered for rendered in exposition._rendered if rendered.block_store is exposition._block_stores[Document]
    )
    after = []
    for _ in range(3):
        exposition.flush(older_than=0.0)
        after.append(rendered.series)

    assert [after[0], 2 * after[0], 2 * after[0]] == after
    assert 2 * blocks.SLOTS == page_text(exposition).count("\ndify_document_info{")


def test_counter_names_in_each_format(monkeypatch: pytest.MonkeyPatch) -> None:
    """The header of a counter loses ``_total`` in OpenMetrics and keeps it in text; its lines keep it in both."""
    family = Family(
        name="dify_things_total",
        type="counter",
        help="Things.",
        of=ServerStatus,
        part=lambda server: server,
        read=lambda _: [(("a",), 1), (("b",), 2.5)],
        labels=("kind",),
    )
    monkeypatch.setattr(exposition_module, "catalog", lambda **_: (family,))
    exposition = Exposition(self_metrics=NoSelfMetrics())
    exposition.changed([(None, ServerStatus("main", ""))])
    lines = 'dify_things_total{server="main",kind="a"} 1\ndify_things_total{server="main",kind="b"} 2.5\n'
    text, openmetrics = page_text(exposition), page_text(exposition, Format.OPENMETRICS)

    assert f"# HELP dify_things_total Things.\n# TYPE dify_things_total counter\n{lines}" == text
    assert f"# HELP dify_things Things.\n# TYPE dify_things counter\n{lines}# EOF\n" == openmetrics
    assert parse_page(text, Format.TEXT) == parse_page(openmetrics, Format.OPENMETRICS)
    assert 2 == exposition.series()


def test_promtool_accepts_the_page(
    exposition: Exposition, document: Document, promtool: Callable[[bytes], tuple[int, str]]
) -> None:
    """Names, types, help texts and unusual label values pass Prometheus' linter."""
    odd = replace(document, document_id="\r \u2028 \x85 \x01 🦆 \ud800", batch='"\\\n')
    exposition.changed(
        [
            (None, document),
            (None, odd),
            (
                None,
                Batch("main", "ds", "b1", ("doc",), tuple(range(len(STATUSES))), 10, 3, last_progress=9.5, eta=99.0),
            ),
            (None, Dataset("main", "ds", "Handbook", documents=tuple(range(len(DISPLAY_STATUSES))))),
            (None, new_counters("main", "ds")),
            (None, TargetStatus("main", "batch", "ds", "b1", success=True, last_success=1.5, interval=15.0)),
            (None, ServerStatus("main", "http://dify/v1", "1.12.1", up=True)),
        ]
    )
    page = page_text(exposition)

    assert Counter({family.name for family in CATALOG}) == Counter(
        line.split()[2] for line in page.splitlines() if line.startswith("# TYPE dify")
    )
    assert (0, "") == promtool(page.encode())
