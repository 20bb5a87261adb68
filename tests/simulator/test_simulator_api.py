"""Routes, versions and pages that were not recorded."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from exporter.dify.answers import DocumentDetail, IndexingStatus
from exporter.simulator import Action, BatchPlan, DatasetPlan, DocumentPlan, Rule, Scenario

if TYPE_CHECKING:
    from collections.abc import Callable

DATASET = "501756ed-cffa-44bb-b992-713f60113872"
UNKNOWN = "11111111-2222-4333-8444-555555555555"
KEY = "dataset-secret"


def many_documents(run_scenario: Callable[..., Any], count: int, version: str = "1.12.1", **options: Any) -> Any:
    """A dataset with the given number of completed documents, and three that wait."""
    batches = (
        BatchPlan(id="1", documents=tuple(DocumentPlan(name=f"{n}", split=0, index=0) for n in range(count))),
        BatchPlan(id="2", lost=True, documents=tuple(DocumentPlan(name=f"w{n}") for n in range(3))),
    )
    datasets = (DatasetPlan(id=DATASET, batches=batches),)
    return run_scenario(Scenario(key=KEY, version=version, workers=None, datasets=datasets), **options).after(3600)


def test_health_needs_no_key(simulate: Callable[..., Any]) -> None:
    """``/health``, outside ``/v1``, returns the version without a key."""
    response = simulate(version="1.4.0").api.handle("GET", "/health")
    assert {"status": "ok", "version": "1.4.0"}.items() <= json.loads(response.body).items()
    assert ("1.4.0", None) == (response.header("X-Version"), response.header("set-cookie"))


def test_the_root_of_the_api_does_not_exist(simulate: Callable[..., Any]) -> None:
    """``/v1/`` is 404 in HTML, with the version in its header, as on real servers."""
    response = simulate(version="1.15.0").api.handle("GET", "/v1/")
    assert (404, "text/html; charset=utf-8", "1.15.0") == (
        response.status,
        response.header("Content-Type"),
        response.header("X-Version"),
    )


@pytest.mark.parametrize(("version", "status"), [("1.8.1", 401), ("1.9.0", 404), ("1.12.1", 404), ("1.13.0", 401)])
def test_which_is_looked_up_first(simulate: Callable[..., Any], version: str, status: int) -> None:
    """With both a wrong key and a wrong dataset, versions 1.9.0 to 1.12.1 answer 404, others 401."""
    headers = {"authorization": "Bearer dataset-wrong"}
    answer = simulate(version=version).api.handle("GET", f"/v1/datasets/{UNKNOWN}/documents", "", headers)
    assert status == answer.status


@pytest.mark.parametrize(
    "path",
    [
        "/v1",
        "/v1/datasets/",
        "/",
        "/v1/datasets/no-uuid/documents",
        f"/v1/datasets/{DATASET}/documents/",
        f"/v1/datasets/{DATASET}/documents/1/indexing-status/",
        f"/v1/datasets/{DATASET}/documents/1",
    ],
)
def test_other_paths_are_html(simulate: Callable[..., Any], path: str) -> None:
    """Trailing slashes, malformed ids and unknown routes return Flask's page, even with a valid key."""
    response = simulate().api.handle("GET", path, "", {"authorization": f"Bearer {KEY}"})
    assert (404, "text/html; charset=utf-8") == (response.status, response.header("content-type"))


@pytest.mark.parametrize(
    ("limit", "size", "more"), [(20, 20, True), (0, 20, False), (100, 100, True), (1000, 100, False)]
)
def test_pages_of_the_list(run_scenario: Callable[..., Any], limit: int, size: int, *, more: bool) -> None:
    """A limit of 0 acts as 20; above 100 the page is capped, but ``has_more`` compares with the requested limit."""
    answer = many_documents(run_scenario, 117).get("/documents", f"limit={limit}")
    assert (size, more, limit, 120) == (len(answer["data"]), answer["has_more"], answer["limit"], answer["total"])


def test_a_page_that_is_exactly_full_says_more(run_scenario: Callable[..., Any]) -> None:
    """A full last page claims that there are more; the next page is empty."""
    simulation = many_documents(run_scenario, 17)
    assert simulation.get("/documents", "limit=20")["has_more"]
    assert [] == simulation.get("/documents", "page=2&limit=20")["data"]


def test_the_list_is_newest_first(run_scenario: Callable[..., Any]) -> None:
    """Positions are in descending order."""
    positions = [item["position"] for item in many_documents(run_scenario, 30).get("/documents", "limit=100")["data"]]
    assert list(range(33, 0, -1)) == positions


@pytest.mark.parametrize(
    ("version", "status", "total"),
    [
        ("1.12.1", "queuing", 3),
        ("1.10.1", "QUEUING", 3),
        ("1.12.1", "active", 10),
        ("1.12.1", "waiting", 13),
        ("1.10.0", "queuing", 13),
    ],
)
def test_the_filter_of_the_list(run_scenario: Callable[..., Any], version: str, status: str, total: int) -> None:
    """The list filters by display status since 1.10.1; before, and for any other value, it returns everything."""
    assert total == many_documents(run_scenario, 10, version).get("/documents", f"status={status}&limit=1")["total"]


def test_an_old_list_can_be_asked_for(run_scenario: Callable[..., Any]) -> None:
    """``old_list`` switches the filter off (or on), whatever the version."""
    assert 13 == many_documents(run_scenario, 10, old_list=True).get("/documents", "status=queuing")["total"]
    assert 3 == many_documents(run_scenario, 10, "1.9.0", old_list=False).get("/documents", "status=queuing")["total"]


def test_dataset_totals(run_scenario: Callable[..., Any]) -> None:
    """Documents that are completed, enabled and not archived count as available."""
    simulation = many_documents(run_scenario, 10)
    for document, kind in (("0", "disable"), ("1", "archive")):
        simulation.world.act(DATASET, Action(kind=kind, batch="1", document=document))  # type: ignore[arg-type]
    answer = simulation.get("")
    assert (13, 8, 13) == (answer["total_documents"], answer["total_available_documents"], answer["document_count"])


def test_segments_of_several_statuses(simulate: Callable[..., Any], first_id: str) -> None:
    """``status`` can be repeated; positions continue across pages."""
    simulation = simulate(DocumentPlan(segments=50, missing=8), technique="high_quality").after(60)
    path = f"/documents/{first_id}/segments"
    assert 42 == simulation.get(path, "status=completed&limit=1")["total"]
    assert 50 == simulation.get(path, "status=completed&status=indexing&limit=1")["total"]
    assert [41, 42, 43] == [each["position"] for each in simulation.get(path, "page=3&limit=20")["data"]][:3]


def test_hierarchical_rules_name_their_parent_mode(simulate: Callable[..., Any], first_id: str) -> None:
    """A hierarchical rule has a parent mode and the segmentation of its sub-chunks, with separators."""
    simulation = simulate(DocumentPlan(rule=Rule(mode="hierarchical", parent_mode="full-doc", subchunk_max_tokens=128)))
    rule = simulation.detail(first_id)["document_process_rule"]["rules"]
    assert ("full-doc", 128, "\n") == (
        rule["parent_mode"],
        rule["subchunk_segmentation"]["max_tokens"],
        rule["segmentation"]["separator"],
    )


def test_tokens_of_high_quality_documents(simulate: Callable[..., Any], first_id: str) -> None:
    """Tokens are null until completion, then a number; with economy indexing they are 0."""
    simulation = simulate(DocumentPlan(tokens=1234), technique="high_quality")
    assert None is simulation.after(1).detail(first_id)["tokens"]
    assert 1234 == simulation.after(60).detail(first_id)["tokens"]


def test_a_crawled_document_has_no_file(simulate: Callable[..., Any], first_id: str) -> None:
    """Documents from sources other than files describe a page."""
    simulation = simulate(DocumentPlan(source="website_crawl"))
    assert "upload_file" not in simulation.detail(first_id)["data_source_info"]
    (listed,) = simulation.get("/documents")["data"]
    assert "url" in listed["data_source_info"]


def test_the_exporter_reads_every_answer(simulate: Callable[..., Any]) -> None:
    """The client's wire structs accept everything that the simulator sends."""
    simulation = simulate(DocumentPlan(name='a "b" \\ c\nd 🚒', outcome="fails")).after(60)
    headers = {"authorization": f"Bearer {KEY}"}
    base = f"/v1/datasets/{DATASET}/documents"
    status = simulation.api.handle("GET", f"{base}/20261121173517669864/indexing-status", "", headers).body
    assert "error" == msgspec.json.decode(status, type=IndexingStatus).data[0].indexing_status
    detail = simulation.api.handle("GET", f"{base}/{simulation.item()['id']}", "metadata=without", headers).body
    decoded = msgspec.json.decode(detail, type=DocumentDetail)
    assert ("error", 'a "b" \\ c\nd 🚒') == (decoded.display_status, decoded.name)


def test_private_knowledge_bases_are_listed_on_request(run_scenario: Callable[..., Any]) -> None:
    """A list omits the knowledge bases that only their creator sees, unless all are requested."""
    datasets = (DatasetPlan(id=DATASET), DatasetPlan(id=UNKNOWN, private=True))
    api = run_scenario(Scenario(key=KEY, datasets=datasets)).api

    def ids(query: str) -> set[str]:
        answer = api.handle("GET", "/v1/datasets", query, {"authorization": f"Bearer {KEY}"})
        return {found["id"] for found in json.loads(answer.body)["data"]}

    assert {DATASET} == ids("page=1") == ids("include_all=false")
    assert {DATASET, UNKNOWN} == ids("include_all=true")


def test_requests_are_counted_by_endpoint(simulate: Callable[..., Any]) -> None:
    """Requests are counted per endpoint, for benchmarks and tests of the load on a server."""
    simulation = simulate()
    simulation.item()
    simulation.item()
    simulation.get("/documents")
    assert {"indexing-status": 2, "documents": 1} == dict(simulation.api.requests)
