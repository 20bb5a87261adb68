"""Whether a server filters document lists by status is judged by lists, not by one document."""

from __future__ import annotations

from structlog.testing import capture_logs

from exporter.dify import PAGE, DocumentPage, ListedDocument
from tests.polling.discovery_server import bases, discovering, documents, finished, listed
from tests.polling.fake_server import DATASET, PollerHarness


def filtered_requests(harness: PollerHarness) -> int:
    """How many lists with a status were requested."""
    return sum(kind == "documents" and "//" not in key for kind, key in harness.client.asked)


def large() -> list[ListedDocument]:
    """More finished documents than a page holds."""
    return [listed(f"old{number}", "completed", "available", 1e9 - 300 * number) for number in range(150)]


def add_odd(harness: PollerHarness, *odd: ListedDocument, status: str = "indexing") -> None:
    """Let the list of one status contain these documents as well."""
    answer = type(harness.client).documents.__get__(harness.client)

    def answer_oddly(dataset_id: str, wanted: str, *, page: int = 1, limit: int = PAGE) -> DocumentPage:
        found: DocumentPage = answer(dataset_id, wanted, page=page, limit=limit)
        return DocumentPage([*odd, *found.data], found.total + len(odd)) if wanted == status else found

    harness.client.documents = answer_oddly  # type: ignore[assignment, method-assign]


def test_one_finished_document_in_a_filtered_list_changes_nothing() -> None:
    """It is not unfinished, the numbers go on, and so does the filter."""
    harness = discovering()
    harness.client.listed[DATASET] = [
        *(listed(f"{number}", "indexing", "indexing") for number in range(5)),
        *large(),
    ]
    add_odd(harness, listed("odd", "completed", "available"))
    harness.poll()
    assert set(documents(harness)) == {"0", "1", "2", "3", "4"}
    add_odd(harness)
    harness.client.listed[DATASET] = [*(listed(f"{n}", "indexing", "indexing") for n in range(7)), *large()]
    before = filtered_requests(harness)
    harness.pass_time(310)
    assert len(documents(harness)) == 7
    assert filtered_requests(harness) > before
    assert bases(harness)[DATASET].documents == (0, 7, 0, 0, 150, 0, 0, None)


def test_a_single_document_that_has_just_finished_does_not_turn_the_filter_off() -> None:
    """A list of one document proves nothing, unless the next scan finds the same."""
    harness = discovering()
    harness.client.listed[DATASET] = large()
    add_odd(harness, listed("odd", "completed", "available"))
    with capture_logs() as lines:
        harness.poll()
    assert [line for line in lines if line["log_level"] == "warning"] == []
    add_odd(harness)
    harness.client.listed[DATASET] = [listed("1", "indexing", "indexing"), *large()]
    harness.pass_time(310)
    assert documents(harness) == {"1": "indexing"}
    assert bases(harness)[DATASET].documents == (0, 1, 0, 0, 150, 0, 0, None)


def test_a_server_that_filters_again_is_noticed_without_a_restart() -> None:
    """The filter is tried with each full scan: after an update of Dify, the numbers return."""
    harness = discovering()
    harness.client.version = ""
    harness.client.old = True
    harness.client.listed[DATASET] = large()
    harness.poll()
    assert bases(harness)[DATASET].documents == ()
    harness.client.old = False
    harness.pass_time(1000)
    assert bases(harness)[DATASET].documents == (0, 0, 0, 0, 150, 0, 0, None)


def test_a_document_with_an_unexpected_display_status_is_not_taken_for_a_missing_filter() -> None:
    """A status that only a later version of Dify has."""
    harness = discovering()
    harness.client.listed[DATASET] = large()
    add_odd(harness, *(listed(f"{number}", "indexing", "summarizing") for number in range(5)))
    harness.poll()
    assert set(documents(harness).values()) == {"indexing"}
    assert bases(harness)[DATASET].documents[:2] == (0, 5)


def test_an_end_is_taken_from_the_newest_documents_of_a_server_without_a_filter() -> None:
    """Servers before 1.5.1 have no details: the list alone tells how a document ended."""
    harness = discovering()
    harness.client.version = "1.4.0"
    harness.client.old = True
    harness.client.listed[DATASET] = [listed("1", "parsing", "indexing", 1e9 + 1), *large()]
    harness.poll()
    harness.client.listed[DATASET] = [listed("1", "completed", "available", 1e9 + 1), *large()]
    harness.pass_time(70)
    assert (documents(harness), finished(harness)) == ({"1": "completed"}, {"completed": 1})
