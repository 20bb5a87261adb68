"""Reloads during a request to a server with discovery."""

from __future__ import annotations

from typing import TYPE_CHECKING

from exporter.config import DatasetConfig, Polling, ServerConfig
from exporter.dify import DatasetAnswer, DocumentDetail, Stopped
from exporter.polling import configured_targets
from tests.polling.discovery_server import OTHER, URL, bases, discovering, documents, listed, reload
from tests.polling.fake_server import DATASET, PollerHarness, item

if TYPE_CHECKING:
    from collections.abc import Callable

    import pytest

OFF = ServerConfig("main", URL)


def during(patch: pytest.MonkeyPatch, harness: PollerHarness, name: str, deed: Callable[[], None]) -> None:
    """Run something during the next request of that name."""
    ask = getattr(harness.client, name)

    def asked(*args: object, **more: object) -> object:
        patch.setattr(harness.client, name, ask)
        answer = ask(*args, **more)
        deed()
        return answer

    patch.setattr(harness.client, name, asked)


def test_a_list_under_way_finds_nothing_once_discovery_is_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """A list fetched during the reload neither adds nor names datasets."""
    harness = discovering()
    during(monkeypatch, harness, "datasets", lambda: reload(harness, OFF))
    harness.poll()
    assert (harness.poller.watched, bases(harness)) == (set(), {})
    harness.pass_time(7200, tick=10.0)
    assert [("datasets", "1")] == harness.client.asked


def test_a_later_list_brings_nothing_back_once_discovery_is_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """A list that arrives after the reload restores nothing that was removed."""
    harness = discovering()
    harness.poll()
    during(monkeypatch, harness, "datasets", lambda: reload(harness, OFF))
    harness.pass_time(300)
    assert (harness.poller.watched, bases(harness)) == (set(), {})


def test_a_list_under_way_brings_nothing_that_the_patterns_choose_no_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    """A list fetched during the reload is used, but filtered by the new patterns."""
    harness = discovering()
    chosen = ServerConfig("main", URL, discover=True, discover_exclude=("tickets",))
    during(monkeypatch, harness, "datasets", lambda: reload(harness, chosen))
    harness.poll()
    harness.pass_time(400)
    assert set(bases(harness)) == {DATASET}
    assert {target.dataset_id for target in harness.poller.watched} == {"", DATASET}


def test_a_list_under_way_leaves_what_the_config_names(monkeypatch: pytest.MonkeyPatch) -> None:
    """With discovery switched off and one dataset configured, only that one stays."""
    harness = discovering()
    named = ServerConfig("main", URL, datasets=(DatasetConfig(OTHER),))
    during(monkeypatch, harness, "datasets", lambda: reload(harness, named))
    harness.poll()
    assert set(bases(harness)) == {OTHER}


def test_an_aborted_scan_leaves_nothing_of_a_removed_dataset(monkeypatch: pytest.MonkeyPatch) -> None:
    """A scan aborted by the reload that removes its dataset leaves nothing of it, not even the name."""
    server = ServerConfig("main", URL, datasets=(DatasetConfig(DATASET, discover=True),))
    harness = PollerHarness(server=server)
    harness.client.bases = {DATASET: DatasetAnswer(DATASET, "Handbook")}
    harness.client.listed[DATASET] = Stopped()
    harness.poller.watch(configured_targets(server))
    during(monkeypatch, harness, "dataset", lambda: reload(harness, OFF))
    harness.poll()
    assert harness.client.count("documents") == 1
    assert (harness.poller.watched, bases(harness)) == (set(), {})


def configured(*datasets: DatasetConfig) -> tuple[PollerHarness, ServerConfig]:
    """A server on which only these datasets are configured, polled for two hours."""
    server = ServerConfig("main", URL, datasets=datasets)
    harness = PollerHarness(server=server)
    harness.client.bases = {DATASET: DatasetAnswer(DATASET, "Handbook")}
    harness.client.batches["b"] = [item("filed", "completed", 1, 1)]
    harness.poller.watch(configured_targets(server))
    harness.poll()
    harness.pass_time(7200, tick=10.0)
    return harness, server


def test_discovery_that_is_switched_on_begins_at_once() -> None:
    """The first scan does not wait until the next fetch of the name would be due."""
    harness, _ = configured(DatasetConfig(DATASET))
    harness.client.listed[DATASET] = [listed("1", "waiting", "queuing")]
    reload(harness, ServerConfig("main", URL, datasets=(DatasetConfig(DATASET, discover=True),)))
    harness.poll()
    assert documents(harness) == {"1": "waiting"}


def test_discovery_that_is_switched_off_reports_no_old_counts() -> None:
    """Document counts are cleared; documents found unfinished are still tracked to their end."""
    harness, off = configured(DatasetConfig(DATASET, discover=False))
    harness.client.listed[DATASET] = [listed("1", "waiting", "queuing")]
    harness.client.details["1"] = DocumentDetail("1", indexing_status="waiting")
    reload(harness, ServerConfig("main", URL, datasets=(DatasetConfig(DATASET, discover=True),)))
    harness.poll()
    assert bases(harness)[DATASET].documents[0] == 1
    reload(harness, off)
    harness.poll()
    assert (bases(harness)[DATASET].name, bases(harness)[DATASET].documents) == ("Handbook", ())
    harness.client.details["1"] = DocumentDetail("1", indexing_status="completed")
    harness.pass_time(700)
    assert documents(harness) == {"1": "completed"}


def test_the_list_is_read_at_once_after_a_reload() -> None:
    """After a reload the dataset list is fetched at once: the new patterns may select more of it."""
    harness = discovering(exclude=("tickets",))
    harness.poll()
    assert set(bases(harness)) == {DATASET}
    reload(harness, ServerConfig("main", URL, discover=True))
    harness.poll()
    assert set(bases(harness)) == {DATASET, OTHER}


def test_settled_targets_follow_the_new_intervals() -> None:
    """A finished batch does not wait longer than the new intervals allow."""
    harness, server = configured(DatasetConfig(DATASET, batches=("b",)))
    asked = harness.client.count("batch")
    reload(harness, server, Polling(settled_interval=60.0, max_settled_interval=60.0))
    harness.poll()
    assert harness.client.count("batch") == asked
    harness.pass_time(60)
    assert harness.client.count("batch") == asked + 1


def test_a_detail_under_way_brings_no_document_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """A detail that arrives after the reload removed its batch is ignored: nothing would ever remove the document."""
    server = ServerConfig("main", URL, datasets=(DatasetConfig(DATASET, batches=("b",)),))
    harness = PollerHarness(server=server)
    harness.client.bases = {DATASET: DatasetAnswer(DATASET, "H")}
    harness.client.batches["b"] = [item("1", "waiting")]
    harness.client.details["1"] = DocumentDetail("1", indexing_status="waiting")
    harness.poller.watch(configured_targets(server))
    during(monkeypatch, harness, "document", lambda: reload(harness, OFF))
    harness.poll()
    assert ("document", "1") in harness.client.asked
    assert [] == harness.store.documents
