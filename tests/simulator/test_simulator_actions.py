"""Actions on documents: which fields each action writes and which it leaves unchanged."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from exporter.simulator import Action, Attempt, BatchPlan, DatasetPlan, DocumentPlan, Scenario

if TYPE_CHECKING:
    from collections.abc import Callable

DATASET = "501756ed-cffa-44bb-b992-713f60113872"
NEW = "20261121190000000001"
STAGES = ("processing_started_at", "parsing_completed_at", "cleaning_completed_at", "splitting_completed_at")


def statuses(simulation: Any) -> list[str]:
    """The statuses of the batch, in the order of the plan."""
    return [item["indexing_status"] for item in simulation.items()]


def test_pause_stops_the_whole_task(simulate: Callable[..., Any]) -> None:
    """The paused document stops; its siblings stay in parsing forever."""
    simulation = simulate(*(DocumentPlan(name=f"{number}", split=10, index=10) for number in range(3)))
    simulation.after(5).act("pause", "0")
    assert ["paused", "parsing", "parsing"] == statuses(simulation)
    assert ["paused", "parsing", "parsing"] == statuses(simulation.after(10_000))
    assert int(simulation.world.start) + 5 == simulation.items()[0]["paused_at"]


def test_pause_before_its_turn_lets_the_others_finish_first(simulate: Callable[..., Any]) -> None:
    """The worker notices a pause when it reaches the document: the documents before it complete."""
    simulation = simulate(*(DocumentPlan(name=f"{number}", split=1, index=1) for number in range(3)))
    simulation.act("pause", "1")
    assert ["completed", "paused", "parsing"] == statuses(simulation.after(60))


def test_a_paused_document_still_grows_for_some_seconds(simulate: Callable[..., Any]) -> None:
    """Segments in progress are still added after the pause; then the count stays constant."""
    simulation = simulate(DocumentPlan(segments=100, parse=0, split=10))
    simulation.after(5).act("pause")
    assert [50, 60, 80, 80] == [
        simulation.item()["total_segments"],
        *(simulation.after(s).item()["total_segments"] for s in (1, 3, 9)),
    ]


def test_pause_shows_even_when_the_document_is_finished(simulate: Callable[..., Any], first_id: str) -> None:
    """indexing-status reports a finished document as paused; the detail reports its real status."""
    simulation = simulate()
    simulation.after(60).act("pause")
    assert "paused" == simulation.item()["indexing_status"]
    detail = simulation.detail(first_id)
    assert ("completed", "available") == (detail["indexing_status"], detail["display_status"])
    simulation.act("resume")
    assert "completed" == simulation.item()["indexing_status"]


def test_a_paused_waiting_document_shows_queuing_and_is_skipped(simulate: Callable[..., Any], first_id: str) -> None:
    """The worker skips a document that was paused while waiting; the detail reports it as queuing."""
    simulation = simulate(queue=5)
    simulation.act("pause")
    assert ("paused", None) == (
        simulation.after(60).item()["indexing_status"],
        simulation.item()["processing_started_at"],
    )
    assert "queuing" == simulation.detail(first_id)["display_status"]
    simulation.act("resume")
    assert ("completed", None) == (simulation.after(60).item()["indexing_status"], simulation.item()["paused_at"])


@pytest.mark.parametrize(("moment", "phase"), [(1, "parsing"), (5, "splitting"), (15, "indexing")])
def test_resume_continues_in_the_same_phase(
    simulate: Callable[..., Any], first_id: str, moment: float, phase: str
) -> None:
    """A resumed document completes with all its segments and keeps the time at which its processing started."""
    simulation = simulate(DocumentPlan(segments=100, parse=2, split=8, index=20), technique="high_quality")
    simulation.after(moment).act("pause")
    assert phase == simulation.detail(first_id)["indexing_status"]
    assert "paused" == simulation.detail(first_id)["display_status"]
    before = simulation.after(100).item()
    simulation.act("resume")
    assert phase == simulation.after(0.1).item()["indexing_status"]
    assert before["completed_segments"] <= simulation.item()["completed_segments"]
    done = simulation.after(60).item()
    assert ("completed", 100, 100) == (done["indexing_status"], done["completed_segments"], done["total_segments"])
    assert before["processing_started_at"] == done["processing_started_at"]


@pytest.mark.parametrize("moment", [1, 5, 15])
def test_a_resumed_document_fails_as_planned(simulate: Callable[..., Any], moment: float) -> None:
    """A failure planned for a time after the pause happens after it, and only once."""
    plan = DocumentPlan(segments=100, parse=2, split=8, index=20, outcome="fails", after=0.9, error="quota")
    simulation = simulate(plan, technique="high_quality")
    simulation.after(moment).act("pause")
    simulation.after(100).act("resume")
    failed = simulation.after(100).item()
    assert ("error", "quota", None) == (failed["indexing_status"], failed["error"], failed["completed_at"])
    assert failed["stopped_at"] >= int(simulation.world.start) + moment + 100
    assert failed == simulation.after(1000).item()


@pytest.mark.parametrize("read", [True, False])
def test_pause_and_resume_revive_a_document_whose_worker_died(simulate: Callable[..., Any], *, read: bool) -> None:
    """A worker that died before the pause does not die again, whether or not the document was read in between."""
    simulation = simulate(DocumentPlan(outcome="dies"), technique="high_quality")
    simulation.after(60)
    if read:
        simulation.item()
    simulation.act("pause")
    simulation.after(60).act("resume")
    assert "completed" == simulation.after(60).item()["indexing_status"]


def test_resume_does_nothing_to_a_running_document(simulate: Callable[..., Any]) -> None:
    """A running document is not affected."""
    simulation, other = simulate(), simulate()
    simulation.after(1).act("resume")
    other.after(1)
    assert other.after(1.5).item() == simulation.after(1.5).item()


def test_pause_after_the_worker_died_only_sets_the_flag(simulate: Callable[..., Any]) -> None:
    """Pausing does not revive a document whose worker died, nor the documents after it."""
    simulation = simulate(DocumentPlan(name="0", outcome="dies"), DocumentPlan(name="1"))
    before = simulation.after(60).items()
    simulation.act("pause")
    after = [{**item, "indexing_status": "", "paused_at": None} for item in simulation.after(60).items()]
    assert [{**item, "indexing_status": ""} for item in before] == after
    assert ["paused", "paused"] == statuses(simulation)


def test_retry_keeps_everything_until_it_is_overwritten(simulate: Callable[..., Any]) -> None:
    """A retried document waits with its old error, stop and stages; completion clears the error, never the stop."""
    simulation = simulate(DocumentPlan(outcome="fails", error="quota"))
    failed = simulation.after(60).item()
    simulation.act("retry", lost=True)
    assert {**failed, "indexing_status": "waiting"} == simulation.after(60).item()
    simulation.act("retry")
    parsing = simulation.after(0.1).item()
    assert ("parsing", "quota", 0) == (parsing["indexing_status"], parsing["error"], parsing["total_segments"])
    done = simulation.after(60).item()
    assert ("completed", None, failed["stopped_at"]) == (done["indexing_status"], done["error"], done["stopped_at"])


def test_a_second_failure_gives_the_new_error(simulate: Callable[..., Any]) -> None:
    """A retry can fail again, with another error and a later stop."""
    simulation = simulate(DocumentPlan(outcome="fails", error="quota"))
    first = simulation.after(60).item()
    simulation.act("retry", attempt=Attempt(outcome="fails", error="timeout"))
    second = simulation.after(60).item()
    assert "timeout" == second["error"]
    assert second["stopped_at"] > first["stopped_at"]


def test_reupload_moves_the_document(simulate: Callable[..., Any]) -> None:
    """The new batch contains the document, waiting with the old completion, start and counts; the old batch is gone."""
    simulation = simulate()
    old = simulation.after(60).item()
    simulation.act("reupload", into=NEW, lost=True)
    assert {**old, "indexing_status": "waiting"} == simulation.item(NEW)
    answer = simulation.get("/documents/20261121173517669864/indexing-status", status=404)
    assert "Documents not found." == answer["message"]


def test_reupload_does_not_move_the_siblings(simulate: Callable[..., Any]) -> None:
    """The old batch loses only this document, which is indexed again under an id generated for the new batch."""
    simulation = simulate(DocumentPlan(name="0"), DocumentPlan(name="1"))
    simulation.after(60).act("reupload", "1")
    assert 1 == len(simulation.items())
    (new,) = set(simulation.world.datasets[DATASET].batches) - {"20261121173517669864"}
    assert new.isdigit()
    assert 20 == len(new)
    assert "completed" == simulation.after(60).item(new)["indexing_status"]


def test_update_clears_the_stages_and_keeps_error_and_stop(simulate: Callable[..., Any], first_id: str) -> None:
    """An update by text keeps batch, error and stop, clears the simulation times, and sets ``created_from`` to web."""
    simulation = simulate(DocumentPlan(outcome="fails", error="quota"))
    failed = simulation.after(60).item()
    simulation.act("update", name="new.txt", lost=True)
    waiting = simulation.item()
    assert [None] * 5 == [waiting[field] for field in (*STAGES, "completed_at")]
    assert ("waiting", "quota", failed["stopped_at"]) == (
        waiting["indexing_status"],
        waiting["error"],
        waiting["stopped_at"],
    )
    detail = simulation.detail(first_id)
    assert ("web", "new.txt") == (detail["created_from"], detail["name"])


def test_an_update_counts_old_segments_only_in_the_detail(simulate: Callable[..., Any], first_id: str) -> None:
    """indexing-status omits old segments; the detail counts them until the text is parsed."""
    simulation = simulate(DocumentPlan(parse=5))
    simulation.after(60).act("update", attempt=Attempt(segments=7, parse=5, split=5))
    assert (0, 20) == (simulation.after(1).item()["total_segments"], simulation.detail(first_id)["segment_count"])
    assert 2.0 == simulation.detail(first_id)["indexing_latency"]
    assert (7, 7) == (simulation.after(60).item()["total_segments"], simulation.detail(first_id)["segment_count"])


def test_fall_back_changes_no_time(simulate: Callable[..., Any], first_id: str) -> None:
    """A change of the model sets indexing with all segments completed; ``come_back`` also changes only the status."""
    simulation = simulate()
    done = simulation.after(60).item()
    simulation.act("fall_back")
    assert {**done, "indexing_status": "indexing"} == simulation.after(1000).item()
    assert "indexing" == simulation.detail(first_id)["display_status"]
    simulation.act("come_back")
    assert done == simulation.item()


def test_disabled_and_archived_show_in_the_detail_alone(simulate: Callable[..., Any], first_id: str) -> None:
    """Disabling a document changes its display status and nothing in indexing-status."""
    simulation = simulate()
    done = simulation.after(60).item()
    seen = []
    for kind in ("disable", "archive", "unarchive", "enable"):
        simulation.act(kind)
        assert done == simulation.item()
        seen.append(simulation.detail(first_id)["display_status"])
    assert ["disabled", "archived", "disabled", "available"] == seen


def test_deletion_of_document_batch_and_dataset(simulate: Callable[..., Any]) -> None:
    """A deleted document leaves its batch, an empty batch disappears, and a deleted dataset loses everything."""
    simulation = simulate(DocumentPlan(name="0"), DocumentPlan(name="1"), DocumentPlan(name="2"))
    simulation.after(1).act("delete", "0")
    assert ["splitting" if number == 0 else "parsing" for number in (1, 2)] == statuses(simulation)
    simulation.act("delete")
    assert (
        "Documents not found."
        == simulation.get("/documents/20261121173517669864/indexing-status", status=404)["message"]
    )
    simulation.world.delete_dataset(DATASET)
    assert "Dataset not found." == simulation.get("/documents", status=404)["message"]


def test_actions_on_unknown_objects_are_refused(simulate: Callable[..., Any]) -> None:
    """An action on something that does not exist raises an error."""
    simulation = simulate()
    for action in (
        Action(kind="pause", batch="no"),
        Action(kind="pause", document="no"),
        Action(kind="pause", batch=NEW),
    ):
        with pytest.raises(KeyError):
            simulation.world.act(DATASET, action)
    with pytest.raises(KeyError):
        simulation.act("pause", "no such name")
    with pytest.raises(KeyError):
        simulation.world.act("no", Action(kind="pause"))


def test_planned_actions_skip_deleted_documents(simulate: Callable[..., Any]) -> None:
    """A planned action on a document deleted in the meantime does nothing."""
    simulation = simulate(
        DocumentPlan(name="0"),
        DocumentPlan(name="1"),
        actions=(Action(kind="delete", document="0", at=1), Action(kind="pause", document="0", at=2)),
    )
    assert ["completed"] == statuses(simulation.after(60))


def test_a_deleted_dataset_gets_no_later_batch(run_scenario: Callable[..., Any]) -> None:
    """Batches planned for later are deleted with their dataset, even if a new dataset takes its id."""
    later = BatchPlan(id=NEW, at=10)
    simulation = run_scenario(Scenario(key="dataset-secret", datasets=(DatasetPlan(id=DATASET, batches=(later,)),)))
    simulation.world.delete_dataset(DATASET)
    simulation.world.add_dataset(DatasetPlan(id=DATASET))
    simulation.after(60).get(f"/documents/{NEW}/indexing-status", status=404)
