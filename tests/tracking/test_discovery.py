"""Finding what nobody named."""

from __future__ import annotations

import pytest

from exporter.config import Dataset as DatasetConfig
from exporter.config import Polling, Server
from exporter.dify import (
    BadRequest,
    Dataset,
    DocumentDetail,
    Forbidden,
    ListedDocument,
    NotFound,
    SchemaMismatch,
    ServerFailed,
)
from exporter.tracking import DISPLAY_STATUSES, Document, KnowledgeBase, Target, configured_targets
from exporter.tracking.model import Activity
from exporter.tracking.state import Memory
from tests.tracking.rig import DATASET, Rig, item

OTHER = "a7d082b4-b651-4647-810f-f1a7176fe54f"


def discovering(*datasets: DatasetConfig, include: tuple[str, ...] = (), exclude: tuple[str, ...] = ()) -> Rig:
    """A rig whose server has discovery on; nothing is polled yet."""
    server = Server(
        "main",
        "http://127.0.0.1:5001/v1",
        discover=True,
        discover_include=include,
        discover_exclude=exclude,
        datasets=datasets,
    )
    rig = Rig(Polling(), server)
    rig.client.bases = {DATASET: Dataset(DATASET, "Handbook", "high_quality", "bge"), OTHER: Dataset(OTHER, "Tickets")}
    rig.poller.watch(configured_targets(server))
    return rig


def listed(document_id: str, status: str, display: str) -> ListedDocument:
    """A document in a list."""
    return ListedDocument(document_id, status, display)


def bases(rig: Rig) -> dict[str, KnowledgeBase]:
    """What is known of the knowledge bases, by id."""
    return {found.dataset_id: found for found in rig.listening.of(KnowledgeBase)}


def documents(rig: Rig) -> dict[str, str]:
    """The status of every document."""
    return {found.document_id: found.progress.status for found in rig.listening.of(Document)}


def test_every_knowledge_base_is_found_named_and_counted() -> None:
    """All that the key sees has a name and a census by display status; states that nothing is known of have none."""
    rig = discovering()
    rig.client.listed[DATASET] = [
        listed("1", "waiting", "queuing"),
        listed("2", "completed", "available"),
        listed("3", "completed", "available"),
        listed("4", "error", "error"),
    ]
    rig.poll()
    found = bases(rig)
    assert (found[DATASET].name, found[DATASET].indexing_technique, found[DATASET].embedding_model) == (
        "Handbook",
        "high_quality",
        "bge",
    )
    assert dict(zip(DISPLAY_STATUSES, found[DATASET].documents, strict=True)) == {
        "queuing": 1,
        "indexing": 0,
        "paused": 0,
        "error": 1,
        "available": 2,
        "disabled": 0,
        "archived": 0,
        "unknown": None,
    }
    assert found[OTHER].name == "Tickets"
    assert documents(rig) == {"1": "waiting"}
    assert {found.dataset_id for found in rig.listening.of(Activity)} == {DATASET, OTHER}


def test_patterns_choose_by_name() -> None:
    """``discover_include`` and ``discover_exclude`` go by the name, in any case; exclusion wins."""
    rig = discovering(include=("hand*", "tick*"), exclude=("*TICKETS*",))
    rig.poll()
    assert set(bases(rig)) == {DATASET}


def test_an_unfinished_document_is_followed_to_its_end_and_then_dropped() -> None:
    """Status from the list, segments from the segments, end from the detail; forgotten after the retention."""
    rig = discovering()
    rig.client.listed[DATASET] = [listed("1", "waiting", "queuing")]
    rig.client.details["1"] = DocumentDetail("1", name="a", indexing_status="waiting", segment_count=0)
    rig.poll()
    rig.client.listed[DATASET] = [listed("1", "indexing", "indexing")]
    rig.client.details["1"] = DocumentDetail("1", name="a", indexing_status="indexing", segment_count=9)
    rig.client.segments["1"] = 4
    rig.pass_time(70)
    (document,) = rig.listening.of(Document)
    assert (document.progress.status, document.progress.completed_segments, document.progress.total_segments) == (
        "indexing",
        4,
        9,
    )
    rig.client.listed[DATASET] = [listed("1", "completed", "available")]
    rig.client.details["1"] = DocumentDetail("1", name="a", indexing_status="completed", segment_count=9)
    rig.client.segments["1"] = 9
    rig.pass_time(70)
    (document,) = rig.listening.of(Document)
    assert (document.progress.status, document.progress.completed_segments) == ("completed", 9)
    (activity,) = [found for found in rig.listening.of(Activity) if found.dataset_id == DATASET]
    assert dict(activity.finished)["completed", ""] == 1
    asked = rig.client.count("document") + rig.client.count("segments")
    rig.pass_time(3600)
    assert rig.client.count("document") + rig.client.count("segments") == asked
    rig.store.expire(7200.0)
    assert documents(rig) == {"1": "completed"}
    rig.store.expire(3000.0)
    assert documents(rig) == {}


def test_moving_segments_keep_a_found_document_from_stalling() -> None:
    """Slow is not stuck: fifteen minutes without a change of its completed segments, then it is stalled."""
    rig = discovering()
    rig.client.listed[DATASET] = [listed("1", "indexing", "indexing")]
    rig.client.details["1"] = DocumentDetail("1", indexing_status="indexing", segment_count=1000)
    rig.poll()
    for minute in range(40):
        rig.client.segments["1"] = minute // 10
        rig.pass_time(60)
        assert not rig.listening.of(Document)[0].stalled
    rig.pass_time(15 * 60)
    assert rig.listening.of(Document)[0].stalled
    rig.client.segments["1"] = 4
    rig.pass_time(70)
    assert not rig.listening.of(Document)[0].stalled


def test_a_document_that_waits_for_ever_is_seen_to() -> None:
    """Queued for ever without a batch id: stalled after ``queued_after``, not before."""
    rig = discovering()
    rig.client.listed[DATASET] = [listed("1", "waiting", "queuing")]
    rig.client.details["1"] = DocumentDetail("1", indexing_status="waiting", segment_count=0)
    rig.poll()
    rig.pass_time(1795)
    assert not rig.listening.of(Document)[0].stalled
    rig.pass_time(70)
    assert rig.listening.of(Document)[0].stalled


def test_a_list_does_not_show_that_segments_stand_still() -> None:
    """Segments that are completed just before the limit keep it from stalling, whatever is asked for first."""
    rig = discovering()
    rig.client.listed[DATASET] = [listed("1", "indexing", "indexing")]
    rig.client.details["1"] = DocumentDetail("1", indexing_status="indexing", segment_count=1000)
    rig.poll()
    moved = rig.listening.of(Document)[0].moved
    for jump in range(1, 6):
        rig.pass_time(moved + 899 - rig.clock.monotonic())
        rig.client.segments["1"] = jump
        rig.pass_time(61)
        (document,) = rig.listening.of(Document)
        assert (jump, False) == (document.progress.completed_segments, document.stalled)
        moved = document.moved
    rig.pass_time(moved + 900 - rig.clock.monotonic())
    assert rig.listening.of(Document)[0].stalled


@pytest.mark.parametrize("error", [BadRequest("provider_not_initialize"), SchemaMismatch("no total")])
def test_a_document_whose_segments_are_refused_is_judged_without_them(error: Exception) -> None:
    """The embedding model is not configured, or the server is old: what else is known of the document counts."""
    rig = discovering()
    rig.client.listed[DATASET] = [listed("1", "indexing", "indexing")]
    rig.client.details["1"] = DocumentDetail("1", indexing_status="indexing", segment_count=1000)
    rig.client.segments["1"] = error
    rig.poll()
    rig.pass_time(895)
    assert not rig.listening.of(Document)[0].stalled
    rig.pass_time(10)
    assert rig.listening.of(Document)[0].stalled


def test_segments_that_cannot_be_read_are_not_taken_for_still_ones() -> None:
    """Unreadable is not stalled."""
    rig = discovering()
    rig.client.listed[DATASET] = [listed("1", "indexing", "indexing")]
    rig.client.details["1"] = DocumentDetail("1", indexing_status="indexing", segment_count=1000)
    rig.client.segments["1"] = ServerFailed("segments: 500")
    rig.poll()
    rig.pass_time(3600)
    assert not rig.listening.of(Document)[0].stalled


def test_a_recalled_document_is_read_in_full_again() -> None:
    """After a restart its detail is asked for, though its status is the old one: only it tells that it still grows."""
    before = discovering()
    before.client.listed[DATASET] = [listed("1", "splitting", "indexing")]
    before.client.details["1"] = DocumentDetail("1", indexing_status="splitting", segment_count=3)
    before.poll()
    after = discovering()
    after.client.listed, after.client.details = before.client.listed, before.client.details
    after.store.recall(Memory(before.store.documents, [], []))
    after.poll()
    assert 1 == after.client.count("document")


def test_a_batch_serves_the_documents_that_it_covers() -> None:
    """A covered document is not polled twice; one that its batch believes finished wakes the batch at once."""
    rig = discovering(DatasetConfig(DATASET, batches=("b",)))
    rig.client.batches["b"] = [item("1", "completed", 9, 9)]
    rig.client.listed[DATASET] = [listed("1", "completed", "available")]
    rig.client.details["1"] = DocumentDetail("1", indexing_status="completed")
    rig.poll()
    rig.pass_time(300)
    rig.client.batches["b"] = [item("1", "indexing", 9, 9)]
    rig.client.listed[DATASET] = [listed("1", "indexing", "indexing")]
    rig.pass_time(250)
    assert documents(rig) == {"1": "indexing"}
    assert rig.client.count("segments") == 0


def test_an_old_server_that_ignores_the_state_is_searched_from_the_newest() -> None:
    """Before 1.10.1 every list holds everything: two pages, and no census that would be wrong."""
    rig = discovering()
    rig.client.version = ""
    rig.client.old = True
    rig.client.listed[DATASET] = [
        *(listed(f"new{number}", "completed", "available") for number in range(150)),
        listed("stuck", "parsing", "indexing"),
        *(listed(f"old{number}", "completed", "available") for number in range(500)),
    ]
    rig.poll()
    assert documents(rig) == {"stuck": "parsing"}
    assert bases(rig)[DATASET].documents == ()
    pages = [key for kind, key in rig.client.asked if kind == "documents" and key.startswith(DATASET)]
    assert pages == [f"{DATASET}/queuing/1", f"{DATASET}//1", f"{DATASET}//2"]


def test_a_version_that_cannot_filter_is_not_asked_to() -> None:
    """The version tells beforehand."""
    rig = discovering()
    rig.client.version = "1.9.2"
    rig.client.old = True
    rig.client.listed[DATASET] = [listed("1", "waiting", "queuing")]
    rig.poll()
    assert documents(rig) == {"1": "waiting"}
    assert all("//" in key for kind, key in rig.client.asked if kind == "documents")


def test_what_is_known_to_be_unfinished_is_followed_beyond_the_newest_pages() -> None:
    """On an old server a document that slips off the newest pages is asked for by its detail."""
    rig = discovering()
    rig.client.version = "1.9.2"
    rig.client.old = True
    rig.client.listed[DATASET] = [listed("1", "waiting", "queuing")]
    rig.client.details["1"] = DocumentDetail("1", indexing_status="waiting")
    rig.poll()
    rig.client.listed[DATASET] = [listed(f"n{number}", "completed", "available") for number in range(300)]
    rig.client.details["1"] = DocumentDetail("1", indexing_status="completed")
    rig.pass_time(250)
    assert documents(rig) == {"1": "completed"}


@pytest.mark.parametrize("error", [BadRequest("plugin daemon", status=400), ServerFailed("x", status=500)])
def test_a_plugin_daemon_that_is_down_stops_neither_batches_nor_known_datasets(error: Exception) -> None:
    """Names and the list fail; documents of configured knowledge bases are found all the same."""
    rig = discovering(DatasetConfig(DATASET, batches=("b",)))
    rig.client.list_error = error
    rig.client.batches["b"] = [item("9", "waiting")]
    rig.client.listed[DATASET] = [listed("1", "waiting", "queuing")]
    rig.poll()
    assert documents(rig) == {"1": "waiting", "9": "waiting"}
    assert rig.roster.target(Target("dataset", DATASET, DATASET)).success is True  # type: ignore[union-attr]
    assert rig.roster.target(Target("datasets", "", "")).success is False  # type: ignore[union-attr]
    rig.client.list_error = None
    rig.pass_time(700)
    assert bases(rig)[DATASET].name == "Handbook"
    assert OTHER in bases(rig)


def test_more_documents_than_a_page_are_found_each_once() -> None:
    """It pages by ``total``; a document that moves between pages comes twice and counts once."""
    rig = discovering()
    many = [listed(f"{number:03}", "waiting", "queuing") for number in range(250)]
    rig.client.listed[DATASET] = [*many[:100], many[0], *many[100:]]
    rig.poll()
    assert len(documents(rig)) == 250


def test_a_full_page_is_the_last_when_total_says_so() -> None:
    """``has_more`` is true on a page that is just full; ``total`` is not fooled."""
    rig = discovering()
    rig.client.listed[DATASET] = [listed(f"{number:03}", "waiting", "queuing") for number in range(100)]
    rig.poll()
    pages = [key for kind, key in rig.client.asked if kind == "documents" and key.startswith(f"{DATASET}/queuing")]
    assert pages == [f"{DATASET}/queuing/1"]


def test_a_knowledge_base_that_disappears_takes_its_series_along() -> None:
    """Deleted, or hidden from the key: nothing of it is left, nothing of it is asked for."""
    rig = discovering()
    rig.client.listed[DATASET] = [listed("1", "waiting", "queuing")]
    rig.poll()
    del rig.client.bases[DATASET]
    rig.client.listed[DATASET] = NotFound("Dataset not found.", gone=True)
    rig.pass_time(400)
    assert documents(rig) == {}
    assert set(bases(rig)) == {OTHER}
    assert rig.roster.target(Target("dataset", DATASET, DATASET)) is None
    asked = len([1 for kind, key in rig.client.asked if key.startswith(DATASET)])
    rig.pass_time(3600)
    assert len([1 for kind, key in rig.client.asked if key.startswith(DATASET)]) == asked


def test_access_that_is_off_for_one_knowledge_base_harms_no_other() -> None:
    """403 for one: the others are found and followed."""
    rig = discovering()
    rig.client.listed[DATASET] = Forbidden("Dataset api access is not enabled.", status=403)
    rig.client.listed[OTHER] = [listed("1", "waiting", "queuing")]
    rig.poll()
    rig.pass_time(120)
    assert documents(rig) == {"1": "waiting"}
    assert rig.roster.status.up is True
    assert rig.roster.target(Target("dataset", DATASET, DATASET)).success is False  # type: ignore[union-attr]


def test_a_configured_dataset_is_named_without_discovery() -> None:
    """Alerts must say names: at first sight, then hourly, and nothing else is asked for."""
    server = Server("main", "http://x/v1", datasets=(DatasetConfig(DATASET, batches=("b",)),))
    rig = Rig(Polling(), server)
    rig.client.bases = {DATASET: Dataset(DATASET, "Handbook")}
    rig.client.batches["b"] = [item("1", "completed", 1, 1)]
    rig.poller.watch(configured_targets(server))
    rig.poll()
    assert bases(rig)[DATASET].name == "Handbook"
    rig.client.bases = {DATASET: Dataset(DATASET, "Renamed")}
    rig.pass_time(7300)
    assert bases(rig)[DATASET].name == "Renamed"
    assert (rig.client.count("dataset"), rig.client.count("documents")) == (3, 0)


def test_an_answer_with_another_id_names_what_was_asked_for() -> None:
    """Under the id of the answer it would stay for ever: nothing would say that it is gone."""
    rig = Rig(Polling(), Server("main", "http://x/v1", datasets=(DatasetConfig(DATASET),)))
    rig.client.bases = {DATASET: Dataset(OTHER, "Handbook")}
    rig.poller.watch([Target("dataset", DATASET, DATASET)])
    rig.poll()
    assert {DATASET: "Handbook"} == {key: base.name for key, base in bases(rig).items()}


def test_one_dataset_can_opt_out_of_discovery() -> None:
    """``discover: false`` at a dataset wins over the server's."""
    rig = discovering(DatasetConfig(DATASET, discover=False))
    rig.client.listed[DATASET] = [listed("1", "waiting", "queuing")]
    rig.client.listed[OTHER] = [listed("2", "waiting", "queuing")]
    rig.poll()
    assert documents(rig) == {"2": "waiting"}


def test_a_quiet_knowledge_base_is_looked_at_more_and_more_rarely() -> None:
    """A minute, then up to four while nothing is unfinished: three lists a look, the resting states rarely."""
    rig = discovering()
    rig.poll()
    rig.client.asked.clear()
    rig.pass_time(3600)
    assert rig.client.count("documents") <= 2 * (15 * 3 + 4 * 4)


def test_a_deleted_document_is_forgotten() -> None:
    """It left the lists and its detail is a 404. The next ones are found as ever."""
    rig = discovering()
    rig.client.listed[DATASET] = [listed("1", "waiting", "queuing")]
    rig.client.details["1"] = DocumentDetail("1", indexing_status="waiting")
    rig.poll()
    rig.client.listed[DATASET] = []
    rig.client.details["1"] = NotFound("Document Not Exists.", gone=True)
    rig.pass_time(70)
    assert documents(rig) == {}
    rig.client.listed[DATASET] = [listed("2", "waiting", "queuing")]
    rig.pass_time(300)
    assert {"2": "waiting"} == documents(rig)


def test_a_found_document_that_ends_while_the_exporter_is_down_is_counted_once() -> None:
    """What was unfinished before the restart and is in no list any more is asked for."""
    before = discovering()
    before.client.listed[DATASET] = [listed("1", "waiting", "queuing")]
    before.client.details["1"] = DocumentDetail("1", indexing_status="waiting")
    before.poll()
    after = discovering()
    after.client.details["1"] = DocumentDetail("1", indexing_status="completed")
    after.store.recall(Memory(before.store.documents, [], before.listening.of(Activity)))
    after.poll()
    assert documents(after) == {"1": "completed"}
    (activity,) = [found for found in after.listening.of(Activity) if found.dataset_id == DATASET]
    assert dict(activity.finished)["completed", ""] == 1
    after.store.expire(0.0)
    assert documents(after) == {}


def totals(rig: Rig, documents: int, available: int) -> None:
    """Let the list of knowledge bases tell these totals of the first one."""
    rig.client.bases[DATASET] = Dataset(
        DATASET,
        "Handbook",
        document_count=documents,
        total_documents=documents,
        total_available_documents=available,
    )


def surveys(rig: Rig) -> int:
    """How often the first knowledge base was looked through."""
    return sum(kind == "documents" and key == f"{DATASET}/queuing/1" for kind, key in rig.client.asked)


def test_totals_in_the_list_spare_looks_at_quiet_knowledge_bases() -> None:
    """Where the list tells of new and finished documents, a quiet one is looked through every half hour only."""
    rig = discovering()
    totals(rig, 5, 5)
    rig.poll()
    rig.pass_time(3600)
    before = surveys(rig)
    rig.pass_time(7200)
    assert surveys(rig) - before == 4


def test_a_change_of_the_totals_is_looked_into_at_once() -> None:
    """A new document, or one that is no longer available, is found when the list is next read."""
    rig = discovering()
    totals(rig, 5, 5)
    rig.poll()
    rig.pass_time(7200)
    totals(rig, 6, 5)
    rig.client.listed[DATASET] = [listed("1", "waiting", "queuing")]
    rig.pass_time(300)
    assert documents(rig) == {"1": "waiting"}


def test_without_the_list_quiet_knowledge_bases_are_looked_at_more_often() -> None:
    """A list that cannot be read tells nothing: every four minutes then."""
    rig = discovering()
    totals(rig, 5, 5)
    rig.poll()
    rig.client.list_error = BadRequest("plugin daemon", status=400)
    rig.pass_time(7200)
    before = surveys(rig)
    rig.pass_time(2400)
    assert surveys(rig) - before == 10


def test_a_paused_document_is_not_asked_for_in_each_round() -> None:
    """Paused ones are listed with the census; between two of them they are taken to be paused still."""
    rig = discovering()
    rig.client.listed[DATASET] = [listed("1", "indexing", "paused")]
    rig.client.details["1"] = DocumentDetail("1", indexing_status="indexing", display_status="paused")
    rig.poll()
    asked = rig.client.count("document")
    rig.pass_time(290)
    assert (documents(rig), rig.client.count("document")) == ({"1": "paused"}, asked)
    rig.client.listed[DATASET] = [listed("1", "indexing", "indexing")]
    rig.client.details["1"] = DocumentDetail("1", indexing_status="indexing", display_status="indexing")
    rig.pass_time(70)
    assert documents(rig) == {"1": "indexing"}
