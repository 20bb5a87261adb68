"""The simulator's answers against those of a real server: field by field, type by type, also where null is."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from exporter.simulator import Action, BatchPlan, DatasetPlan, DocumentPlan, Fault, Life, Rule, Scenario, document_id

if TYPE_CHECKING:
    from collections.abc import Callable

RECORDINGS = Path(__file__).parent.parent / "recordings"
DATASET = "501756ed-cffa-44bb-b992-713f60113872"
OTHER = "a7d082b4-b651-4647-810f-f1a7176fe54f"
CLOSED = "e9d5342b-3dbe-4319-b7cd-a071256229de"
BATCH = "20261121173517669864"
KEY = "dataset-secret"

NOT_REPRODUCED = {
    "segments--stuck-indexing--re_segment": "a deadlock in the update itself kept the old segments beside the new ones",
    "segments--stuck-indexing--nofilter-limit1": "the same: its first segment is an old one",
    "documents-list--pagex-limit20": "recorded without its body",
    "datasets-list--pagex-limit20": "recorded without its body",
}
LARGE = DocumentPlan(name="large-2.0mb.txt", segments=4444, characters=2_199_800, parse=0, split=20, index=25)
BROKEN = DocumentPlan(
    name="broken.docx", fate="fails", phase="parsing", error="Package not found at 'storage/igmd01c9.docx'"
)
PAUSED = tuple(DocumentPlan(name=f"pz{n}.txt", segments=2223, parse=0, split=10, created_from="web") for n in range(3))
TWICE = DocumentPlan(name="reidx.txt", parse=1, split=1, index=2)
SECOND = Life(segments=334, characters=164_900, parse=1, split=2, index=3)


@dataclass(frozen=True)
class Scene:
    """What has to happen for a case, and when to look."""

    plans: tuple[DocumentPlan, ...] = (DocumentPlan(name="small.txt"),)
    seconds: float = 60.0
    actions: tuple[Action, ...] = ()
    lost: bool = False


def _update(at: float, **life: Any) -> Action:
    return Action(do="update", at=at, name="reidx-v2.txt", life=Life(**life) if life else SECOND)


SCENES = {
    "waiting": Scene(lost=True),
    "stuck-waiting": Scene(lost=True),
    "byfile-waiting": Scene(lost=True),
    "multi3-waiting": Scene(plans=PAUSED, lost=True),
    "completed": Scene(),
    "archived": Scene(actions=(Action(do="archive", at=30),)),
    "disabled": Scene(actions=(Action(do="disable", at=30),)),
    "blank-text": Scene(plans=(DocumentPlan(name="blank.txt", segments=0, characters=7),)),
    "empty-text": Scene(plans=(DocumentPlan(name="empty.txt", segments=0, characters=0),)),
    "custom": Scene(
        plans=(
            DocumentPlan(segments=180, characters=8_820, rule=Rule(mode="custom", max_tokens=100, chunk_overlap=10)),
        )
    ),
    "hier": Scene(plans=(DocumentPlan(segments=60, rule=Rule(mode="hierarchical")),)),
    "error-pdf": Scene(plans=(DocumentPlan(name="broken.pdf", fate="fails", phase="parsing"),)),
    "error-docx": Scene(plans=(BROKEN,)),
    "large-parsing": Scene(plans=(LARGE,), seconds=0.001),
    "large-splitting": Scene(plans=(LARGE,), seconds=0.001),
    "large-indexing": Scene(plans=(LARGE,), seconds=30),
    "large-completed": Scene(plans=(LARGE,)),
    "paused": Scene(plans=PAUSED, actions=(Action(do="pause", document="pz0.txt", at=8),)),
    "paused-midway": Scene(plans=PAUSED, seconds=8, actions=(Action(do="pause", document="pz0.txt", at=7),)),
    "paused-settled": Scene(plans=PAUSED, actions=(Action(do="pause", document="pz0.txt", at=8),)),
    "batch3-midway": Scene(plans=PAUSED, seconds=8),
    "waiting-paused": Scene(lost=True, actions=(Action(do="pause", at=5),)),
    "waiting-paused-after-worker": Scene(actions=(Action(do="pause", at=-1),)),
    "reindex": Scene(plans=(TWICE,), seconds=20.5, actions=(_update(20),)),
    "reindex-midway": Scene(
        plans=(TWICE,), seconds=20.5, actions=(Action(do="update", at=20, lost=True, name="reidx-v2.txt"),)
    ),
    "reindex-parsing": Scene(plans=(TWICE,), seconds=20.5, actions=(_update(20),)),
    "reindex-splitting": Scene(plans=(TWICE,), seconds=21.01, actions=(_update(20),)),
    "reindex-indexing": Scene(plans=(TWICE,), seconds=24, actions=(_update(20),)),
    "reindexed": Scene(plans=(TWICE,), actions=(_update(20),)),
    "with-metadata": Scene(
        plans=(DocumentPlan(name="reidx.txt", metadata={"team": "search"}),), actions=(_update(20),)
    ),
    "retried-ok": Scene(plans=(BROKEN,), actions=(Action(do="retry", at=20, life=Life(segments=4, characters=1736)),)),
    "stuck-indexing": Scene(
        plans=(DocumentPlan(segments=180),),
        actions=(_update(20, segments=3200, fate="hangs"),),
    ),
    "stuck-splitting": Scene(plans=(DocumentPlan(segments=200, fate="dies", phase="splitting"),)),
    "b100": Scene(plans=tuple(DocumentPlan(name=f"{n}", segments=6, index=0.1, split=0.1) for n in range(100))),
    "deleted-batch": Scene(actions=(Action(do="delete", at=30),)),
    "moved-batch": Scene(actions=(Action(do="reupload", at=30, into="20261121174923206369"),)),
}


def recording(name: str) -> dict[str, Any]:
    """A recorded answer."""
    loaded: dict[str, Any] = json.loads((RECORDINGS / f"{name}.json").read_text(encoding="utf-8"))
    return loaded


def shape(value: object) -> object:
    """The types of a JSON value: of a list, those of all its elements together."""
    if isinstance(value, dict):
        return {key: shape(each) for key, each in value.items()}
    if isinstance(value, list):
        return [json.loads(each) for each in sorted({json.dumps(shape(each), sort_keys=True) for each in value})]
    return type(value).__name__


def values(value: Any) -> object:
    """What does not depend on ids, texts and the time of day."""
    kept = {
        "indexing_status",
        "display_status",
        "error",
        "enabled",
        "archived",
        "created_from",
        "doc_form",
        "doc_language",
        "completed_segments",
        "total_segments",
        "hit_count",
        "has_more",
        "limit",
        "page",
        "mode",
        "rules",
        "code",
        "status",
        "message",
        "data_source_type",
        "summary_index_status",
        "need_summary",
    }
    if isinstance(value, dict):
        return {
            key: each if key in kept else values(each)
            for key, each in value.items()
            if key in kept or isinstance(each, (dict, list))
        }
    if isinstance(value, list):
        return sorted(
            (values(each) for each in value if isinstance(each, dict)),
            key=lambda each: json.dumps(each, sort_keys=True),
        )
    return None


def set_up(stage: Callable[..., Any], scene: Scene) -> Any:
    """Play a scene up to the moment of its recording."""
    actions = tuple(action for action in scene.actions if action.at >= 0)
    early = tuple(action for action in scene.actions if action.at < 0)
    batch = BatchPlan(id=BATCH, queue=5 if early else 0, documents=scene.plans, actions=actions, lost=scene.lost)
    played = stage(Scenario(key=KEY, datasets=(DatasetPlan(id=DATASET, batches=(batch,)),)))
    for action in early:
        played.world.act(DATASET, Action(do=action.do, batch=BATCH))
    return played.after(scene.seconds)


def ask(played: Any, path: str, key: str = KEY, method: str = "GET") -> Any:
    """The answer to a path with its query."""
    path, _, query = path.partition("?")
    return played.api.handle(method, path, query, {"authorization": f"Bearer {key}"} if key else {})


def compare(recorded: dict[str, Any], response: Any, *, bodies: bool = True) -> None:
    """Hold an answer against a recorded one: status, headers, body."""
    assert recorded["status"] == response.status
    headers = {name.lower(): value for name, value in response.headers}
    expected = {name: value for name, value in recorded["headers"].items() if name not in ("date", "connection")}
    assert set(expected) == set(headers)
    for name in set(expected) - {"set-cookie"}:
        assert expected[name] == headers[name], name
    if "set-cookie" in expected:
        assert re.fullmatch(r"x-token=[^;]+; HttpOnly; Path=/", headers["set-cookie"])
    if "json" in recorded:
        answer = json.loads(response.body)
        assert shape(recorded["json"]) == shape(answer)
        if bodies:
            assert values(recorded["json"]) == values(answer)
    elif recorded["text"]:
        assert recorded["text"] == response.body.decode()


def cases(prefix: str) -> list[str]:
    """The recordings of an endpoint that can be reproduced."""
    return sorted(path.stem for path in RECORDINGS.glob(f"{prefix}--*.json") if path.stem not in NOT_REPRODUCED)


@pytest.mark.parametrize("case", cases("indexing-status"))
def test_indexing_status(stage: Callable[..., Any], case: str) -> None:
    """Every recorded state of a batch looks the same, down to the statuses, counts and nulls."""
    played = set_up(stage, SCENES[case.removeprefix("indexing-status--")])
    response = ask(played, f"/v1/datasets/{DATASET}/documents/{BATCH}/indexing-status")
    volatile = ("midway", "paused-settled", "splitting")
    compare(recording(case), response, bodies=not case.endswith(volatile))


@pytest.mark.parametrize("case", cases("document"))
def test_document(stage: Callable[..., Any], case: str) -> None:
    """Every recorded detail looks the same, in each form of ``metadata``."""
    _, state, _ = case.split("--")
    recorded = recording(case)
    scene = SCENES[state]
    played = set_up(stage, scene)
    query = recorded["path"].partition("?")[2]
    document = document_id(DATASET, BATCH, 0, scene.plans[0])
    response = ask(played, f"/v1/datasets/{DATASET}/documents/{document}?{query}")
    if state == "stuck-indexing":  # there the update came with another process rule than the dataset's
        mine, real = json.loads(response.body), recorded["json"]
        for either in (mine, real):
            either.pop("document_process_rule", None)
            either.pop("created_from", None)
        assert shape(real) == shape(mine)
        return
    compare(recorded, response)
    if state in ("completed", "archived", "disabled", "blank-text", "empty-text", "large-completed", "retried-ok") and (
        "segment_count" in recorded["json"]
    ):
        answer = json.loads(response.body)
        for field in ("segment_count", "average_segment_length", "tokens"):
            if (state, field) != ("large-completed", "average_segment_length"):
                assert recorded["json"][field] == answer[field], field


@pytest.mark.parametrize("case", [each for each in cases("segments") if "--status-" not in each])
def test_segments(stage: Callable[..., Any], case: str) -> None:
    """Totals by status, the frame of the page and the shape of a segment are as recorded."""
    _, state, _ = case.split("--")
    recorded = recording(case)
    scene = SCENES[state]
    query = recorded["path"].partition("?")[2]
    document = document_id(DATASET, BATCH, 0, scene.plans[0])
    response = ask(set_up(stage, scene), f"/v1/datasets/{DATASET}/documents/{document}/segments?{query}")
    compare(recorded, response)
    if state != "stuck-splitting":
        assert recorded["json"]["total"] == json.loads(response.body)["total"]


@pytest.mark.parametrize("case", [each for each in cases("segments") if "--status-" in each])
def test_segment_filters(stage: Callable[..., Any], case: str) -> None:
    """The filter is exact and case-sensitive: another word, or an empty one, counts nothing."""
    recorded = recording(case)
    query = recorded["path"].partition("?")[2]
    document = document_id(DATASET, BATCH, 0, TWICE)
    path = f"/v1/datasets/{DATASET}/documents/{document}/segments?{query}"
    compare(recorded, ask(set_up(stage, SCENES["reindexed"]), path))


@pytest.fixture
def crowded(stage: Callable[..., Any]) -> Any:
    """A server with documents in every display status, a second dataset and one without API access."""
    plans = (
        *(DocumentPlan(name=f"{number}.txt", split=0, index=0.1) for number in range(14)),
        DocumentPlan(name="broken.pdf", fate="fails", phase="parsing"),
    )
    batches = (
        BatchPlan(
            id="1",
            documents=plans,
            actions=(Action(do="archive", document="0.txt", at=20), Action(do="disable", document="1.txt", at=20)),
        ),
        BatchPlan(
            id="2",
            documents=tuple(DocumentPlan(name=f"pz{n}.txt", split=100, created_from="web") for n in range(3)),
            actions=(Action(do="pause", document="pz0.txt", at=8),),
        ),
        BatchPlan(id="3", documents=(LARGE,), at=0.1),
        BatchPlan(id="4", documents=(DocumentPlan(name="last.txt"),), at=0.2, actions=(_update(20),)),
    )
    datasets = (
        DatasetPlan(id=DATASET, batches=batches),
        DatasetPlan(id=OTHER, name="other"),
        DatasetPlan(id=CLOSED, name="closed", api=False),
    )
    return stage(Scenario(key=KEY, workers=None, datasets=datasets)).after(60)


@pytest.mark.parametrize("case", cases("documents-list"))
def test_document_list(crowded: Any, case: str) -> None:
    """Pages, filters and items of the document list are as recorded."""
    recorded = recording(case)
    if case == "documents-list--large-completed--status-indexing":
        for name in ("pz1.txt", "pz2.txt"):
            crowded.world.act(DATASET, Action(do="delete", batch="2", document=name))
    if "large-splitting" in case or "large-indexing" in case:
        batch = BatchPlan(documents=(LARGE,), queue=0)
        crowded.world.add_batch(DATASET, batch)
        crowded.after(10 if "splitting" in case else 30)
    response = ask(crowded, recorded["path"])
    if "json" not in recorded:
        assert recorded["status"] == response.status
    else:
        compare(recorded, response)


@pytest.mark.parametrize("case", [*cases("datasets-list"), "datasets-list-1"])
def test_dataset_list(stage: Callable[..., Any], case: str) -> None:
    """Pages and items of the list of knowledge bases are as recorded."""
    recorded = recording(case)
    response = ask(stage(Scenario(key=KEY, datasets=(DatasetPlan(id=DATASET, name="kb-main"),))), recorded["path"])
    assert recorded["status"] == response.status
    if "json" in recorded:
        compare(recorded, response)


@pytest.mark.parametrize("name", ["datasets", "documents"])
def test_a_page_that_is_no_number_is_refused(crowded: Any, name: str) -> None:
    """``page=x`` is 400, as recorded (without the body)."""
    path = recording(f"{name}-list--pagex-limit20")["path"]
    assert recording(f"{name}-list--pagex-limit20")["status"] == ask(crowded, path).status


ERROR_KEYS = {
    "wrong-token": "Bearer dataset-wrong",
    "no-token": "",
    "basic-scheme": "Basic abc",
    "token-without-bearer": KEY,
    "lowercase-bearer": f"bearer {KEY}",
    "unknown-dataset-no-token": "",
    "unknown-dataset-wrong-token": "Bearer dataset-wrong",
}


@pytest.mark.parametrize("case", [*cases("err"), "err--nonexistent-route"])
def test_refusals(stage: Callable[..., Any], crowded: Any, case: str) -> None:
    """Every recorded refusal: status, headers (the key in a cookie, too) and body, JSON or HTML."""
    recorded = recording(case)
    authorization = ERROR_KEYS.get(case.rsplit("--", maxsplit=1)[-1], f"Bearer {KEY}")
    played = crowded
    if "indexing-status" in case:
        played = set_up(stage, SCENES["reindexed"])
    document = next(iter(played.world.datasets[DATASET].documents))
    path = (
        recorded["path"]
        .replace("20261121174306613336", BATCH)
        .replace("2c1f27ce-173d-4584-9800-865654bf3bb1", document)
    )
    bare, _, query = path.partition("?")
    headers = {"authorization": authorization} if authorization else {}
    response = played.api.handle(recorded["method"], bare, query, headers)
    compare(recorded, response)


@pytest.mark.parametrize("case", cases("outage"))
def test_outages(stage: Callable[..., Any], case: str) -> None:
    """What a missing plugin daemon, PostgreSQL or Redis does to each endpoint is as recorded."""
    recorded = recording(case)
    played = set_up(stage, SCENES["reindexed"])
    kinds: dict[str, Any] = {"plugin-down": "plugin_down", "postgres-down": "postgres_down", "redis-down": "redis_down"}
    if (state := case.split("--")[1]) in kinds:
        played.api.faults.add(Fault(kind=kinds[state]))
    response = ask(played, recorded["path"].replace("20261121174306613336", BATCH))
    compare(recorded, response, bodies="plugin" not in case)


def test_every_recording_is_compared() -> None:
    """A recording without a scene, or an exception for one that does not exist, is noticed."""
    names = {path.stem for path in RECORDINGS.glob("*.json")}
    assert set() == set(NOT_REPRODUCED) - names
    prefixes = (
        "indexing-status",
        "document",
        "documents-list",
        "datasets-list",
        "segments",
        "segments-list",
        "err",
        "outage",
    )
    assert set() == {name for name in names if not name.startswith(prefixes)}


@pytest.mark.parametrize("case", cases("segments-list"))
def test_segment_pages(stage: Callable[..., Any], case: str) -> None:
    """The segment list forgives every page and limit, as recorded (without bodies)."""
    recorded = recording(case)
    document = document_id(DATASET, BATCH, 0, TWICE)
    path = recorded["path"].replace("2c1f27ce-173d-4584-9800-865654bf3bb1", document)
    assert recorded["status"] == ask(set_up(stage, SCENES["reindexed"]), path).status


@pytest.mark.parametrize("zone", [0.0, 8.0])
def test_the_shapes_hold_in_any_zone(stage: Callable[..., Any], zone: float) -> None:
    """The offset changes values, never types."""
    scene = SCENES["retried-ok"]
    batch = BatchPlan(id=BATCH, documents=scene.plans, actions=scene.actions)
    scenario = Scenario(key=KEY, zone_offset=zone, datasets=(DatasetPlan(id=DATASET, batches=(batch,)),))
    response = ask(stage(scenario).after(60), f"/v1/datasets/{DATASET}/documents/{BATCH}/indexing-status")
    assert shape(recording("indexing-status--retried-ok")["json"]) == shape(json.loads(response.body))
