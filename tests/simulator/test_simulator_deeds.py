"""Actions on documents: which fields each action writes and which it leaves unchanged."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from exporter.simulator import Action, BatchPlan, DatasetPlan, DocumentPlan, Life, Scenario

if TYPE_CHECKING:
    from collections.abc import Callable

DATASET = "501756ed-cffa-44bb-b992-713f60113872"
NEW = "20261121190000000001"
STAGES = ("processing_started_at", "parsing_completed_at", "cleaning_completed_at", "splitting_completed_at")


def statuses(stage: Any) -> list[str]:
    """The statuses of the batch, in the order of the plan."""
    return [item["indexing_status"] for item in stage.items()]


def test_pause_stops_the_whole_task(play: Callable[..., Any]) -> None:
    """The paused document stops; its siblings stay in parsing forever."""
    stage = play(*(DocumentPlan(name=f"{number}", split=10, index=10) for number in range(3)))
    stage.after(5).act("pause", "0")
    assert ["paused", "parsing", "parsing"] == statuses(stage)
    assert ["paused", "parsing", "parsing"] == statuses(stage.after(10_000))
    assert int(stage.world.start) + 5 == stage.items()[0]["paused_at"]


def test_pause_before_its_turn_lets_the_others_finish_first(play: Callable[..., Any]) -> None:
    """The worker notices a pause when it reaches the document: the documents before it complete."""
    stage = play(*(DocumentPlan(name=f"{number}", split=1, index=1) for number in range(3)))
    stage.act("pause", "1")
    assert ["completed", "paused", "parsing"] == statuses(stage.after(60))


def test_a_paused_document_still_grows_for_some_seconds(play: Callable[..., Any]) -> None:
    """Segments in progress are still added after the pause; then the count stays constant."""
    stage = play(DocumentPlan(segments=100, parse=0, split=10))
    stage.after(5).act("pause")
    assert [50, 60, 80, 80] == [
        stage.item()["total_segments"],
        *(stage.after(s).item()["total_segments"] for s in (1, 3, 9)),
    ]


def test_pause_shows_even_when_the_document_is_finished(play: Callable[..., Any], first_id: str) -> None:
    """indexing-status reports a finished document as paused; the detail reports its real status."""
    stage = play()
    stage.after(60).act("pause")
    assert "paused" == stage.item()["indexing_status"]
    detail = stage.detail(first_id)
    assert ("completed", "available") == (detail["indexing_status"], detail["display_status"])
    stage.act("resume")
    assert "completed" == stage.item()["indexing_status"]


def test_a_paused_waiting_document_shows_queuing_and_is_skipped(play: Callable[..., Any], first_id: str) -> None:
    """The worker skips a document that was paused while waiting; the detail reports it as queuing."""
    stage = play(queue=5)
    stage.act("pause")
    assert ("paused", None) == (stage.after(60).item()["indexing_status"], stage.item()["processing_started_at"])
    assert "queuing" == stage.detail(first_id)["display_status"]
    stage.act("resume")
    assert ("completed", None) == (stage.after(60).item()["indexing_status"], stage.item()["paused_at"])


@pytest.mark.parametrize(("moment", "phase"), [(1, "parsing"), (5, "splitting"), (15, "indexing")])
def test_resume_goes_on_in_the_same_phase(play: Callable[..., Any], first_id: str, moment: float, phase: str) -> None:
    """A resumed document completes with all its segments and keeps the time at which its processing started."""
    stage = play(DocumentPlan(segments=100, parse=2, split=8, index=20), technique="high_quality")
    stage.after(moment).act("pause")
    assert phase == stage.detail(first_id)["indexing_status"]
    assert "paused" == stage.detail(first_id)["display_status"]
    before = stage.after(100).item()
    stage.act("resume")
    assert phase == stage.after(0.1).item()["indexing_status"]
    assert before["completed_segments"] <= stage.item()["completed_segments"]
    done = stage.after(60).item()
    assert ("completed", 100, 100) == (done["indexing_status"], done["completed_segments"], done["total_segments"])
    assert before["processing_started_at"] == done["processing_started_at"]


@pytest.mark.parametrize("moment", [1, 5, 15])
def test_a_resumed_document_meets_its_fate(play: Callable[..., Any], moment: float) -> None:
    """A failure planned for a time after the pause strikes after it, and only once."""
    plan = DocumentPlan(segments=100, parse=2, split=8, index=20, fate="fails", after=0.9, error="quota")
    stage = play(plan, technique="high_quality")
    stage.after(moment).act("pause")
    stage.after(100).act("resume")
    failed = stage.after(100).item()
    assert ("error", "quota", None) == (failed["indexing_status"], failed["error"], failed["completed_at"])
    assert failed["stopped_at"] >= int(stage.world.start) + moment + 100
    assert failed == stage.after(1000).item()


@pytest.mark.parametrize("look", [True, False])
def test_pause_and_resume_revive_a_dead_document(play: Callable[..., Any], *, look: bool) -> None:
    """A document that died before the pause does not die again, whether or not it was read in between."""
    stage = play(DocumentPlan(fate="dies"), technique="high_quality")
    stage.after(60)
    if look:
        stage.item()
    stage.act("pause")
    stage.after(60).act("resume")
    assert "completed" == stage.after(60).item()["indexing_status"]


def test_resume_does_nothing_to_what_is_not_paused(play: Callable[..., Any]) -> None:
    """A running document is not affected."""
    stage, other = play(), play()
    stage.after(1).act("resume")
    other.after(1)
    assert other.after(1.5).item() == stage.after(1.5).item()


def test_pause_after_death_changes_nothing_but_the_flag(play: Callable[..., Any]) -> None:
    """Pausing does not revive a document that is dead or left behind."""
    stage = play(DocumentPlan(name="0", fate="dies"), DocumentPlan(name="1"))
    before = stage.after(60).items()
    stage.act("pause")
    kept = [{**item, "indexing_status": "", "paused_at": None} for item in stage.after(60).items()]
    assert [{**item, "indexing_status": ""} for item in before] == kept
    assert ["paused", "paused"] == statuses(stage)


def test_retry_keeps_everything_until_it_is_overwritten(play: Callable[..., Any]) -> None:
    """A retried document waits with its old error, stop and stages; completion clears the error, never the stop."""
    stage = play(DocumentPlan(fate="fails", error="quota"))
    failed = stage.after(60).item()
    stage.act("retry", lost=True)
    assert {**failed, "indexing_status": "waiting"} == stage.after(60).item()
    stage.act("retry")
    parsing = stage.after(0.1).item()
    assert ("parsing", "quota", 0) == (parsing["indexing_status"], parsing["error"], parsing["total_segments"])
    done = stage.after(60).item()
    assert ("completed", None, failed["stopped_at"]) == (done["indexing_status"], done["error"], done["stopped_at"])


def test_a_second_failure_gives_the_new_error(play: Callable[..., Any]) -> None:
    """A retry can fail again, with another error and a later stop."""
    stage = play(DocumentPlan(fate="fails", error="quota"))
    first = stage.after(60).item()
    stage.act("retry", life=Life(fate="fails", error="timeout"))
    second = stage.after(60).item()
    assert "timeout" == second["error"]
    assert second["stopped_at"] > first["stopped_at"]


def test_reupload_moves_the_document(play: Callable[..., Any]) -> None:
    """The new batch contains the document, waiting with the old completion, start and counts; the old batch is gone."""
    stage = play()
    old = stage.after(60).item()
    stage.act("reupload", into=NEW, lost=True)
    assert {**old, "indexing_status": "waiting"} == stage.item(NEW)
    answer = stage.get("/documents/20261121173517669864/indexing-status", status=404)
    assert "Documents not found." == answer["message"]


def test_reupload_leaves_the_siblings(play: Callable[..., Any]) -> None:
    """The old batch loses only this document, which is indexed again under an id generated for the new batch."""
    stage = play(DocumentPlan(name="0"), DocumentPlan(name="1"))
    stage.after(60).act("reupload", "1")
    assert 1 == len(stage.items())
    (new,) = set(stage.world.datasets[DATASET].batches) - {"20261121173517669864"}
    assert new.isdigit()
    assert 20 == len(new)
    assert "completed" == stage.after(60).item(new)["indexing_status"]


def test_update_clears_the_stages_and_keeps_error_and_stop(play: Callable[..., Any], first_id: str) -> None:
    """An update by text keeps batch, error and stop, clears the stage times, and sets ``created_from`` to web."""
    stage = play(DocumentPlan(fate="fails", error="quota"))
    failed = stage.after(60).item()
    stage.act("update", name="new.txt", lost=True)
    waiting = stage.item()
    assert [None] * 5 == [waiting[field] for field in (*STAGES, "completed_at")]
    assert ("waiting", "quota", failed["stopped_at"]) == (
        waiting["indexing_status"],
        waiting["error"],
        waiting["stopped_at"],
    )
    detail = stage.detail(first_id)
    assert ("web", "new.txt") == (detail["created_from"], detail["name"])


def test_an_update_counts_old_segments_only_in_the_detail(play: Callable[..., Any], first_id: str) -> None:
    """indexing-status omits old segments; the detail counts them until the text is parsed."""
    stage = play(DocumentPlan(parse=5))
    stage.after(60).act("update", life=Life(segments=7, parse=5, split=5))
    assert (0, 20) == (stage.after(1).item()["total_segments"], stage.detail(first_id)["segment_count"])
    assert 2.0 == stage.detail(first_id)["indexing_latency"]
    assert (7, 7) == (stage.after(60).item()["total_segments"], stage.detail(first_id)["segment_count"])


def test_fall_back_touches_no_time(play: Callable[..., Any], first_id: str) -> None:
    """A change of the model sets indexing with all segments completed; ``come_back`` also changes only the status."""
    stage = play()
    done = stage.after(60).item()
    stage.act("fall_back")
    assert {**done, "indexing_status": "indexing"} == stage.after(1000).item()
    assert "indexing" == stage.detail(first_id)["display_status"]
    stage.act("come_back")
    assert done == stage.item()


def test_disabled_and_archived_show_in_the_detail_alone(play: Callable[..., Any], first_id: str) -> None:
    """Disabling a document changes its display status and nothing in indexing-status."""
    stage = play()
    done = stage.after(60).item()
    seen = []
    for deed in ("disable", "archive", "unarchive", "enable"):
        stage.act(deed)
        assert done == stage.item()
        seen.append(stage.detail(first_id)["display_status"])
    assert ["disabled", "archived", "disabled", "available"] == seen


def test_deletion_of_document_batch_and_dataset(play: Callable[..., Any]) -> None:
    """A deleted document leaves its batch, an empty batch disappears, and a deleted dataset loses everything."""
    stage = play(DocumentPlan(name="0"), DocumentPlan(name="1"), DocumentPlan(name="2"))
    stage.after(1).act("delete", "0")
    assert ["splitting" if number == 0 else "parsing" for number in (1, 2)] == statuses(stage)
    stage.act("delete")
    assert "Documents not found." == stage.get("/documents/20261121173517669864/indexing-status", status=404)["message"]
    stage.world.delete_dataset(DATASET)
    assert "Dataset not found." == stage.get("/documents", status=404)["message"]


def test_unknown_things_are_refused(play: Callable[..., Any]) -> None:
    """An action on something that does not exist raises an error."""
    stage = play()
    for action in (Action(do="pause", batch="no"), Action(do="pause", document="no"), Action(do="pause", batch=NEW)):
        with pytest.raises(KeyError):
            stage.world.act(DATASET, action)
    with pytest.raises(KeyError):
        stage.act("pause", "no such name")
    with pytest.raises(KeyError):
        stage.world.act("no", Action(do="pause"))


def test_planned_actions_pass_over_what_is_gone(play: Callable[..., Any]) -> None:
    """A planned action on a document deleted in the meantime does nothing."""
    stage = play(
        DocumentPlan(name="0"),
        DocumentPlan(name="1"),
        actions=(Action(do="delete", document="0", at=1), Action(do="pause", document="0", at=2)),
    )
    assert ["completed"] == statuses(stage.after(60))


def test_a_dataset_that_is_deleted_gets_no_later_batch(stage: Callable[..., Any]) -> None:
    """Batches planned for later are deleted with their dataset, even if a new dataset takes its id."""
    later = BatchPlan(id=NEW, at=10)
    played = stage(Scenario(key="dataset-secret", datasets=(DatasetPlan(id=DATASET, batches=(later,)),)))
    played.world.delete_dataset(DATASET)
    played.world.add_dataset(DatasetPlan(id=DATASET))
    played.after(60).get(f"/documents/{NEW}/indexing-status", status=404)
