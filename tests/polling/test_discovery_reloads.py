"""Reloads during a request to a server with discovery."""

from __future__ import annotations

from typing import TYPE_CHECKING

from exporter.config import DatasetConfig, Polling, ServerConfig
from exporter.dify import DatasetAnswer, DocumentDetail, Stopped
from exporter.polling import configured_targets
from tests.polling.discovery_server import OTHER, URL, bases, discovering, documents, listed, reload
from tests.polling.fake_server import DATASET, Rig, item

if TYPE_CHECKING:
    from collections.abc import Callable

    import pytest

OFF = ServerConfig("main", URL)


def during(patch: pytest.MonkeyPatch, rig: Rig, name: str, deed: Callable[[], None]) -> None:
    """Run something during the next request of that name."""
    ask = getattr(rig.client, name)

    def asked(*args: object, **more: object) -> object:
        patch.setattr(rig.client, name, ask)
        answer = ask(*args, **more)
        deed()
        return answer

    patch.setattr(rig.client, name, asked)


def test_a_list_under_way_finds_nothing_once_discovery_is_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """A list fetched during the reload neither adds nor names datasets."""
    rig = discovering()
    during(monkeypatch, rig, "datasets", lambda: reload(rig, OFF))
    rig.poll()
    assert (rig.poller.watched, bases(rig)) == (set(), {})
    rig.pass_time(7200, tick=10.0)
    assert [("datasets", "1")] == rig.client.asked


def test_a_later_list_brings_nothing_back_once_discovery_is_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """A list that arrives after the reload restores nothing that was removed."""
    rig = discovering()
    rig.poll()
    during(monkeypatch, rig, "datasets", lambda: reload(rig, OFF))
    rig.pass_time(300)
    assert (rig.poller.watched, bases(rig)) == (set(), {})


def test_a_list_under_way_brings_nothing_that_the_patterns_choose_no_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    """A list fetched during the reload is used, but filtered by the new patterns."""
    rig = discovering()
    chosen = ServerConfig("main", URL, discover=True, discover_exclude=("tickets",))
    during(monkeypatch, rig, "datasets", lambda: reload(rig, chosen))
    rig.poll()
    rig.pass_time(400)
    assert set(bases(rig)) == {DATASET}
    assert {target.dataset_id for target in rig.poller.watched} == {"", DATASET}


def test_a_list_under_way_leaves_what_the_config_names(monkeypatch: pytest.MonkeyPatch) -> None:
    """With discovery switched off and one dataset configured, only that one stays."""
    rig = discovering()
    named = ServerConfig("main", URL, datasets=(DatasetConfig(OTHER),))
    during(monkeypatch, rig, "datasets", lambda: reload(rig, named))
    rig.poll()
    assert set(bases(rig)) == {OTHER}


def test_a_look_that_is_given_up_leaves_nothing_of_a_knowledge_base_that_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """A scan aborted by the reload that removes its dataset leaves nothing of it, not even the name."""
    server = ServerConfig("main", URL, datasets=(DatasetConfig(DATASET, discover=True),))
    rig = Rig(server=server)
    rig.client.bases = {DATASET: DatasetAnswer(DATASET, "Handbook")}
    rig.client.listed[DATASET] = Stopped()
    rig.poller.watch(configured_targets(server))
    during(monkeypatch, rig, "dataset", lambda: reload(rig, OFF))
    rig.poll()
    assert rig.client.count("documents") == 1
    assert (rig.poller.watched, bases(rig)) == (set(), {})


def configured(*datasets: DatasetConfig) -> tuple[Rig, ServerConfig]:
    """A server on which only these datasets are configured, polled for two hours."""
    server = ServerConfig("main", URL, datasets=datasets)
    rig = Rig(server=server)
    rig.client.bases = {DATASET: DatasetAnswer(DATASET, "Handbook")}
    rig.client.batches["b"] = [item("filed", "completed", 1, 1)]
    rig.poller.watch(configured_targets(server))
    rig.poll()
    rig.pass_time(7200, tick=10.0)
    return rig, server


def test_discovery_that_is_switched_on_begins_at_once() -> None:
    """The first scan does not wait until the next fetch of the name would be due."""
    rig, _ = configured(DatasetConfig(DATASET))
    rig.client.listed[DATASET] = [listed("1", "waiting", "queuing")]
    reload(rig, ServerConfig("main", URL, datasets=(DatasetConfig(DATASET, discover=True),)))
    rig.poll()
    assert documents(rig) == {"1": "waiting"}


def test_discovery_that_is_switched_off_tells_no_old_counts() -> None:
    """Document counts are cleared; documents found unfinished are still tracked to their end."""
    rig, off = configured(DatasetConfig(DATASET, discover=False))
    rig.client.listed[DATASET] = [listed("1", "waiting", "queuing")]
    rig.client.details["1"] = DocumentDetail("1", indexing_status="waiting")
    reload(rig, ServerConfig("main", URL, datasets=(DatasetConfig(DATASET, discover=True),)))
    rig.poll()
    assert bases(rig)[DATASET].documents[0] == 1
    reload(rig, off)
    rig.poll()
    assert (bases(rig)[DATASET].name, bases(rig)[DATASET].documents) == ("Handbook", ())
    rig.client.details["1"] = DocumentDetail("1", indexing_status="completed")
    rig.pass_time(700)
    assert documents(rig) == {"1": "completed"}


def test_the_list_is_read_at_once_after_a_reload() -> None:
    """After a reload the dataset list is fetched at once: the new patterns may select more of it."""
    rig = discovering(exclude=("tickets",))
    rig.poll()
    assert set(bases(rig)) == {DATASET}
    reload(rig, ServerConfig("main", URL, discover=True))
    rig.poll()
    assert set(bases(rig)) == {DATASET, OTHER}


def test_what_rests_keeps_to_the_new_rhythm() -> None:
    """A finished batch does not wait longer than the new intervals allow."""
    rig, server = configured(DatasetConfig(DATASET, batches=("b",)))
    asked = rig.client.count("batch")
    reload(rig, server, Polling(settled_interval=60.0, max_settled_interval=60.0))
    rig.poll()
    assert rig.client.count("batch") == asked
    rig.pass_time(60)
    assert rig.client.count("batch") == asked + 1


def test_a_detail_under_way_brings_no_document_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """A detail that arrives after the reload removed its batch is ignored: nothing would ever remove the document."""
    server = ServerConfig("main", URL, datasets=(DatasetConfig(DATASET, batches=("b",)),))
    rig = Rig(server=server)
    rig.client.bases = {DATASET: DatasetAnswer(DATASET, "H")}
    rig.client.batches["b"] = [item("1", "waiting")]
    rig.client.details["1"] = DocumentDetail("1", indexing_status="waiting")
    rig.poller.watch(configured_targets(server))
    during(monkeypatch, rig, "document", lambda: reload(rig, OFF))
    rig.poll()
    assert ("document", "1") in rig.client.asked
    assert [] == rig.store.documents
