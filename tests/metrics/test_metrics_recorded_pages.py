"""Any sequence of answers yields a page that every parser accepts."""

from __future__ import annotations

from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics
from prometheus_client.parser import text_string_to_metric_families as text

from exporter.clock import ManualClock
from exporter.dify import DocumentDetail, IndexingItem
from exporter.metrics import DocumentLimit, Exposition, Format, SelfMetrics
from exporter.polling import BATCH_STATUS, Target, TargetStatuses
from exporter.tracking import STATUSES, Merger, Store

DATASET = "501756ed-cffa-44bb-b992-713f60113872"
BATCHES = ("b1", "b2")

numbers = st.none() | st.integers(0, 2**40) | st.floats(0, 1e12)
words = st.none() | st.text(max_size=20)
items = st.lists(
    st.builds(
        IndexingItem,
        id=st.sampled_from(["1", "2", "3"]),
        indexing_status=st.sampled_from([*STATUSES, "dreaming"]),
        processing_started_at=numbers,
        completed_at=numbers,
        stopped_at=numbers,
        completed_segments=numbers,
        total_segments=numbers,
        error=words,
    ),
    max_size=3,
)
details = st.builds(
    DocumentDetail,
    id=st.sampled_from(["1", "2", "3"]),
    name=words,
    indexing_status=st.none() | st.sampled_from([*STATUSES, "dreaming"]),
    display_status=words,
    doc_form=words,
    created_at=numbers,
    tokens=numbers,
    indexing_latency=numbers,
    enabled=st.none() | st.booleans(),
)
answers = st.lists(
    st.tuples(st.sampled_from(BATCHES), st.none() | items) | details | st.floats(0, 5000), min_size=1, max_size=10
)


@settings(max_examples=60)
@given(answers, st.integers(1, 4))
def test_any_sequence_of_answers_gives_a_valid_page(sequence: list[object], limit: int) -> None:
    """Both parsers accept both formats, no series appears twice, and every known batch is present."""
    clock = ManualClock()
    exposition = Exposition(self_metrics=SelfMetrics({}), monotonic=clock.monotonic)
    limited = DocumentLimit(exposition, limit)
    statuses = TargetStatuses("main", listener=limited)
    store = Store("main", statuses.watched, listeners=(limited,), unknown=lambda _: None, clock=clock)
    statuses.add(Target(BATCH_STATUS, DATASET, name) for name in BATCHES)
    for answer in sequence:
        if isinstance(answer, float):
            clock.advance(answer)
            for name in BATCHES:
                Merger(store).confirm_batch(DATASET, name)
        elif isinstance(answer, DocumentDetail):
            Merger(store).apply_detail(DATASET, answer, document_id=answer.id)
        else:
            assert isinstance(answer, tuple)
            name, found = answer
            if found is None:
                store.remove_batch(DATASET, name)
            else:
                Merger(store).apply_batch(DATASET, name, found)
        for fmt, parse in ((Format.TEXT, text), (Format.OPENMETRICS, openmetrics)):
            page = b"".join(exposition.page(fmt).plain_chunks()).decode()
            samples = Counter(
                (sample.name, tuple(sorted(sample.labels.items())))
                for family in parse(page)
                for sample in family.samples
            )
            assert max(samples.values()) == 1
            shown = {dict(labels)["batch"] for name, labels in samples if name == "dify_batch_stalled"}
            assert shown == {name for name in BATCHES if store.batch(DATASET, name)}
            documents = sum(name == "dify_document_info" for name, _ in samples)
            assert documents == min(limit, len(store.documents))
