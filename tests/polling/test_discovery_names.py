"""Discovery of datasets: which ones, under which name, and until when."""

from __future__ import annotations

import pytest

from exporter.config import DatasetConfig, Polling, ServerConfig
from exporter.dify import BadRequest, DatasetAnswer, Forbidden, NotFound, ServerFailed
from exporter.polling import DATASET_LIST, DATASET_SCAN, Target, configured_targets
from exporter.tracking import DISPLAY_STATUSES
from exporter.tracking.model import DatasetCounters
from tests.polling.discovery_server import OTHER, URL, bases, discovering, documents, listed, reload
from tests.polling.fake_server import DATASET, PollerHarness, item


def test_every_knowledge_base_is_found_named_and_counted() -> None:
    """Every visible dataset has a name and document counts by display status; unknown counts have no series."""
    harness = discovering()
    harness.client.listed[DATASET] = [
        listed("1", "waiting", "queuing"),
        listed("2", "completed", "available"),
        listed("3", "completed", "available"),
        listed("4", "error", "error"),
    ]
    harness.poll()
    found = bases(harness)
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
    assert documents(harness) == {"1": "waiting"}
    assert {found.dataset_id for found in harness.listener.of(DatasetCounters)} == {DATASET, OTHER}


def test_patterns_choose_by_name() -> None:
    """``discover_include`` and ``discover_exclude`` match the name case-insensitively; exclusion wins."""
    harness = discovering(include=("hand*", "tick*"), exclude=("*TICKETS*",))
    harness.poll()
    assert set(bases(harness)) == {DATASET}


@pytest.mark.parametrize("private", [True, False])
def test_knowledge_bases_that_only_their_creator_sees(private: bool) -> None:
    """They are discovered, too, unless the configuration says otherwise; a reload applies that."""
    harness = discovering()
    harness.client.private = {OTHER}
    harness.poll()
    assert {DATASET, OTHER} == set(bases(harness))
    reload(harness, ServerConfig("main", URL, discover=True, discover_private=private))
    harness.pass_time(2 * 700)
    assert ({DATASET, OTHER} if private else {DATASET}) == set(bases(harness))


@pytest.mark.parametrize("error", [BadRequest("plugin daemon", status=400), ServerFailed("x", status=500)])
def test_a_plugin_daemon_that_is_down_stops_neither_batches_nor_known_datasets(error: Exception) -> None:
    """If names and the list fail, documents of configured datasets are still found."""
    harness = discovering(DatasetConfig(DATASET, batches=("b",)))
    harness.client.list_error = error
    harness.client.batches["b"] = [item("9", "waiting")]
    harness.client.listed[DATASET] = [listed("1", "waiting", "queuing")]
    harness.poll()
    assert documents(harness) == {"1": "waiting", "9": "waiting"}
    assert harness.statuses.get(Target(DATASET_SCAN, DATASET, DATASET)).success is True  # type: ignore[union-attr]
    assert harness.statuses.get(Target(DATASET_LIST, "", "")).success is False  # type: ignore[union-attr]
    harness.client.list_error = None
    harness.pass_time(700)
    assert bases(harness)[DATASET].name == "Handbook"
    assert OTHER in bases(harness)


def test_a_knowledge_base_that_disappears_takes_its_series_along() -> None:
    """A dataset that is deleted or hidden from the key loses all objects and is no longer polled."""
    harness = discovering()
    harness.client.listed[DATASET] = [listed("1", "waiting", "queuing")]
    harness.poll()
    del harness.client.bases[DATASET]
    harness.client.listed[DATASET] = NotFound("Dataset not found.", gone=True)
    harness.pass_time(700)
    assert documents(harness) == {}
    assert set(bases(harness)) == {OTHER}
    assert harness.statuses.get(Target(DATASET_SCAN, DATASET, DATASET)) is None
    asked = len([1 for kind, key in harness.client.asked if key.startswith(DATASET)])
    harness.pass_time(3600)
    assert len([1 for kind, key in harness.client.asked if key.startswith(DATASET)]) == asked


def test_one_list_that_lacks_a_dataset_removes_nothing() -> None:
    """Pages of the list shift while they are read: only a second list in a row removes the dataset."""
    harness = discovering()
    harness.client.listed[DATASET] = [listed("1", "waiting", "queuing")]
    harness.poll()
    lost = harness.client.bases.pop(DATASET)
    harness.pass_time(310)
    assert set(bases(harness)) == {DATASET, OTHER}
    harness.client.bases[DATASET] = lost
    harness.pass_time(300)
    del harness.client.bases[DATASET]
    harness.pass_time(300)
    assert documents(harness) == {"1": "waiting"}


def test_access_that_is_off_for_one_knowledge_base_harms_no_other() -> None:
    """A 403 for one dataset does not affect discovery in the others."""
    harness = discovering()
    harness.client.listed[DATASET] = Forbidden("Dataset api access is not enabled.", status=403)
    harness.client.listed[OTHER] = [listed("1", "waiting", "queuing")]
    harness.poll()
    harness.pass_time(120)
    assert documents(harness) == {"1": "waiting"}
    assert harness.health.status.up is True
    assert harness.statuses.get(Target(DATASET_SCAN, DATASET, DATASET)).success is False  # type: ignore[union-attr]


def test_a_configured_dataset_is_named_without_discovery() -> None:
    """Without discovery, names are still fetched at the start and hourly, because alerts show them; nothing else is."""
    server = ServerConfig("main", "http://x/v1", datasets=(DatasetConfig(DATASET, batches=("b",)),))
    harness = PollerHarness(Polling(), server)
    harness.client.bases = {DATASET: DatasetAnswer(DATASET, "Handbook")}
    harness.client.batches["b"] = [item("1", "completed", 1, 1)]
    harness.poller.watch(configured_targets(server))
    harness.poll()
    assert bases(harness)[DATASET].name == "Handbook"
    harness.client.bases = {DATASET: DatasetAnswer(DATASET, "Renamed")}
    harness.pass_time(7300)
    assert bases(harness)[DATASET].name == "Renamed"
    assert (harness.client.count("dataset"), harness.client.count("documents")) == (3, 0)


def test_an_answer_with_another_id_names_what_was_asked_for() -> None:
    """The name is stored under the requested id: nothing would ever remove an object under another id."""
    harness = PollerHarness(Polling(), ServerConfig("main", "http://x/v1", datasets=(DatasetConfig(DATASET),)))
    harness.client.bases = {DATASET: DatasetAnswer(OTHER, "Handbook")}
    harness.poller.watch([Target(DATASET_SCAN, DATASET, DATASET)])
    harness.poll()
    assert {DATASET: "Handbook"} == {key: base.name for key, base in bases(harness).items()}


def test_one_dataset_can_opt_out_of_discovery() -> None:
    """``discover: false`` on a dataset overrides the server's setting."""
    harness = discovering(DatasetConfig(DATASET, discover=False))
    harness.client.listed[DATASET] = [listed("1", "waiting", "queuing")]
    harness.client.listed[OTHER] = [listed("2", "waiting", "queuing")]
    harness.poll()
    assert documents(harness) == {"2": "waiting"}


def test_a_dataset_whose_name_is_missing_once_stays_chosen() -> None:
    """A dataset that matched the patterns does not vanish with its name."""
    harness = discovering(include=("hand*",))
    harness.client.listed[DATASET] = [listed("1", "waiting", "queuing")]
    harness.poll()
    harness.client.bases[DATASET] = DatasetAnswer(DATASET, None)
    harness.pass_time(700)
    assert documents(harness) == {"1": "waiting"}
    assert [DATASET] == [*bases(harness)]
