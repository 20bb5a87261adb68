"""Which documents have series when there are more than the limit."""

from __future__ import annotations

import threading
from collections import Counter
from typing import TYPE_CHECKING, Any

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from exporter.metrics import document_limit as limits
from exporter.metrics.document_limit import DocumentLimit
from exporter.tracking.model import STATUSES, Batch, Detail, Document, Progress, ServerStatus
from tests.polling.fake_server import RecordingListener

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pytest

    from exporter.tracking.model import Change

Key = tuple[str, str, str]


def document(name: str, status: str = "completed", created: float | None = 0.0, **more: Any) -> Document:
    """A document created at ``created``; None: its detail is unknown."""
    server, dataset, document_id = more.pop("server", "main"), more.pop("dataset", "ds"), name
    detail = None if created is None else Detail(created_at=created)
    return Document(server, dataset, document_id, "b1", Progress(status), detail, **more)


def key_of(one: Document) -> Key:
    """The key of a document."""
    return one.server, one.dataset_id, one.document_id


def add(limit: DocumentLimit, *documents: Document) -> None:
    """Add new documents in one call."""
    limit.changed([(None, one) for one in documents])


def names(listener: RecordingListener) -> str:
    """The ids of the shown documents, sorted."""
    return "".join(sorted(one.document_id for one in listener.of(Document)))


def highest_ranked(documents: Sequence[Document], limit: int) -> list[Document]:
    """The rule in its simplest form: sort everything each time."""

    def rank(one: Document) -> tuple[int, float, Key]:
        group = {"completed": 2, "error": 1}.get(one.progress.status, 0)
        created = one.detail.created_at if one.detail and one.detail.created_at is not None else one.last_progress
        return group, -created, key_of(one)

    return sorted(documents, key=rank)[:limit]


drawn_documents = st.builds(
    lambda server, dataset, name, status, created, moved: document(
        name, status, created, server=server, dataset=dataset, last_progress=moved
    ),
    st.sampled_from(["main", "other"]),
    st.sampled_from(["ds", "dt"]),
    st.sampled_from("abcdef"),
    st.sampled_from(STATUSES),
    st.none() | st.integers(0, 3),
    st.sampled_from([0.0, 1.0, 2.5]),
)
drawn_changes = st.lists(st.lists(st.tuples(drawn_documents, st.integers(0, 3)), max_size=8), max_size=12)


@given(st.integers(0, 10), drawn_changes)
def test_shown_documents_are_the_highest_ranked(most: int, drawn: list[list[tuple[Document, int]]]) -> None:
    """After any changes, also several of one document in a call, the first documents in the order are shown."""
    listener = RecordingListener()
    limit = DocumentLimit(listener, most)
    known: dict[Key, Document] = {}
    for answer in drawn:
        changes: list[Change] = []
        for one, fate in answer:
            old = known.pop(key_of(one), None)
            if fate:
                known[key_of(one)] = one
                changes.append((old, one))
            elif old is not None:
                changes.append((old, None))
        calls = len(listener.calls)
        limit.changed(changes)
        expected = highest_ranked(list(known.values()), most)
        hidden = Counter((one.server, one.dataset_id) for one in known.values())
        hidden.subtract((one.server, one.dataset_id) for one in expected)

        assert set(expected) == listener.objects
        assert dict(+hidden) == limit.collapsed()
        assert len(listener.calls) - calls <= 1


def test_below_the_limit_changes_pass_unchanged() -> None:
    """Below the limit, the very sequence of changes is passed on."""
    listener = RecordingListener()
    passed: list[Sequence[Change]] = []

    class Recording:
        def changed(self, changes: Sequence[Change], *, durable: bool = False) -> None:  # noqa: ARG002 of the protocol
            passed.append(changes)
            listener.changed(changes)

    limit = DocumentLimit(Recording(), 3)
    first: list[Change] = [(None, document("a")), (None, document("b"))]
    second: list[Change] = [(document("a"), None)]
    limit.changed(first)
    limit.changed(second)

    assert [True, True] == [here is there for here, there in zip(passed, (first, second), strict=True)]
    assert {} == limit.collapsed()


def test_rank_is_unfinished_then_failed_then_newest() -> None:
    """Unfinished documents rank before failed ones, those before completed ones; then the newer first."""
    listener = RecordingListener()
    limit = DocumentLimit(listener, 4)
    add(limit, document("a", created=1), document("b", created=9), document("c", "error", 2), document("d", "error", 1))
    add(limit, document("e", "paused", 0), document("f", "waiting", 0))

    assert "cdef" == names(listener)
    add(limit, document("g", "indexing", 5), document("h", "unknown", 5))
    assert "efgh" == names(listener)
    assert {("main", "ds"): 4} == limit.collapsed()


def test_age_without_detail_is_that_of_the_last_progress() -> None:
    """A document with unknown creation time is as new as its last progress."""
    listener = RecordingListener()
    limit = DocumentLimit(listener, 1)
    add(limit, document("a", created=5), document("b", created=None, last_progress=6.0))

    assert "b" == names(listener)


def test_equal_ranks_are_ordered_by_id() -> None:
    """The order of arrival does not matter among documents of equal rank."""
    seen = set()
    for order in ("abc", "cba", "bac"):
        listener = RecordingListener()
        add(DocumentLimit(listener, 2), *[document(name) for name in order])
        seen.add(names(listener))

    assert {"ab"} == seen


def test_a_removed_document_is_replaced_in_the_same_call() -> None:
    """The most interesting withheld document replaces a removed one in the same call."""
    listener = RecordingListener()
    limit = DocumentLimit(listener, 2)
    documents = [document(name, created=age) for age, name in enumerate("abcd")]
    add(limit, *documents)
    assert "cd" == names(listener)

    limit.changed([(documents[3], None)])
    assert "bc" == names(listener)
    assert [[(documents[3], None), (None, documents[1])]] == listener.calls[1:]


def test_a_finished_document_is_replaced_in_the_same_call() -> None:
    """A shown document that becomes less interesting is replaced by a withheld one in the same call."""
    listener = RecordingListener()
    limit = DocumentLimit(listener, 1)
    working, failed = document("a", "indexing"), document("b", "error")
    add(limit, working, failed)
    done = replace(working, progress=Progress("completed"))
    limit.changed([(working, done)])

    assert {failed} == listener.objects
    assert [(working, None), (None, failed)] == listener.calls[1]
    assert {("main", "ds"): 1} == limit.collapsed()


def test_a_withheld_document_that_restarts_is_shown_in_its_latest_state() -> None:
    """A document that is shown again has its latest values, not those from when it was hidden."""
    listener = RecordingListener()
    limit = DocumentLimit(listener, 1)
    newer, older = document("a", created=2), document("b", created=1)
    add(limit, newer, older)
    again = replace(older, progress=Progress("waiting"))
    limit.changed([(older, again)])

    assert {again} == listener.objects
    assert [(None, again), (newer, None)] == listener.calls[1]


def test_changes_of_withheld_documents_do_not_pass() -> None:
    """A change of withheld documents alone is not passed on."""
    listener = RecordingListener()
    limit = DocumentLimit(listener, 1)
    older = document("b", created=1)
    add(limit, document("a", created=9), older)
    limit.changed([(older, replace(older, batch="b2"))])
    limit.changed([(replace(older, batch="b2"), None)])

    assert 1 == len(listener.calls)
    assert {} == limit.collapsed()


def test_other_objects_pass() -> None:
    """Objects other than documents pass in the same call, however many documents are withheld."""
    listener = RecordingListener()
    limit = DocumentLimit(listener, 1)
    batch = Batch("main", "ds", "b1", ("a", "b"), (0,) * len(STATUSES))
    status = ServerStatus("main", "http://dify/v1")
    limit.changed([(None, status), (None, document("a")), (None, document("b")), (None, batch)])

    assert [[(None, status), (None, batch), (None, document("a"))]] == listener.calls
    limit.changed([(batch, None), (document("a"), document("a", "error"))])
    assert {status, document("a", "error")} == listener.objects


def test_the_limit_applies_to_all_servers_together() -> None:
    """The limit applies to all servers together; withheld documents are counted per dataset."""
    listener = RecordingListener()
    limit = DocumentLimit(listener, 2)
    add(limit, document("a", created=1), document("b", created=2))
    add(limit, document("a", created=3, server="other"), document("b", created=0, server="other", dataset="dt"))

    assert {("main", "b"), ("other", "a")} == {(one.server, one.document_id) for one in listener.of(Document)}
    assert {("main", "ds"): 1, ("other", "dt"): 1} == limit.collapsed()


def test_documents_are_not_sorted_far_below_the_limit() -> None:
    """The sort order is discarded far below the limit, so that it does not cost forever."""
    listener = RecordingListener()
    limit = DocumentLimit(listener, 8)
    documents = [document(str(n)) for n in range(9)]
    add(limit, *documents)
    assert limit._order is not None

    limit.changed([(one, None) for one in documents[:4]])
    assert limit._order is None
    assert {*documents[4:]} == listener.objects

    add(limit, *documents[:4])
    assert 8 == len(listener.objects)
    assert {("main", "ds"): 1} == limit.collapsed()


def test_the_listener_is_called_under_the_lock() -> None:
    """The listener is called under the lock: it sees changes in order."""
    seen: list[bool] = []

    class Watching:
        def changed(self, changes: Sequence[Change], *, durable: bool = False) -> None:  # noqa: ARG002 of the protocol
            assert changes
            seen.append(limit._lock.locked())

    limit = DocumentLimit(Watching(), 1)
    add(limit, document("a"))
    add(limit, document("b", "error"))

    assert [True, True] == seen
    assert not limit._lock.locked()


def test_concurrent_servers() -> None:
    """Changes from several threads are passed on in a consistent order, and none is lost."""
    listener = RecordingListener()
    limit = DocumentLimit(listener, 50)
    last: dict[str, list[Document]] = {}
    failures: list[BaseException] = []

    def poll(server: str) -> None:
        try:
            documents = [document(str(n), "indexing", n, server=server) for n in range(40)]
            add(limit, *documents)
            for turn in range(60):
                status = ("completed", "error", "indexing")[turn % 3]
                after = [replace(one, progress=Progress(status)) for one in documents[turn % 7 :: 7]]
                limit.changed([(documents[int(one.document_id)], one) for one in after])
                for one in after:
                    documents[int(one.document_id)] = one
                limit.collapsed()
            last[server] = documents
        except BaseException as error:  # noqa: BLE001 - raised below, in the thread of the test
            failures.append(error)

    threads = [threading.Thread(target=poll, args=(name,)) for name in ("main", "other", "third")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert [] == failures
    everything = [one for documents in last.values() for one in documents]
    assert {*highest_ranked(everything, 50)} == listener.objects
    assert 120 - 50 == sum(limit.collapsed().values())


def test_a_change_is_cheap_beyond_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """The number of documents examined per change does not grow with the number of documents."""
    limit = DocumentLimit(RecordingListener(), 500)
    documents = [document(f"{n:03}", "indexing", n) for n in range(1_000)]
    add(limit, *documents)
    ranked: list[Document] = []
    rank = limits._rank

    def counting(one: Document) -> Any:
        ranked.append(one)
        return rank(one)

    monkeypatch.setattr(limits, "_rank", counting)
    limit.changed([(documents[3], replace(documents[3], batch="b2"))])
    limit.changed([(documents[999], replace(documents[999], progress=Progress("error")))])

    assert 0 < len(ranked) <= 4
