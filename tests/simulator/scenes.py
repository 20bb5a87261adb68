"""The recorded answers, the scenes in which the simulator returns the same answers, and their comparison."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from exporter.simulator import Action, BatchPlan, DatasetPlan, DocumentPlan, Life, Rule, Scenario

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
    """The events that lead to a case, and when to read the answer."""

    plans: tuple[DocumentPlan, ...] = (DocumentPlan(name="small.txt"),)
    seconds: float = 60.0
    actions: tuple[Action, ...] = ()
    lost: bool = False


def update(at: float, **life: Any) -> Action:
    """Replace the text of the document; the new attempt has another life or ``SECOND``."""
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
    "reindex": Scene(plans=(TWICE,), seconds=20.5, actions=(update(20),)),
    "reindex-midway": Scene(
        plans=(TWICE,), seconds=20.5, actions=(Action(do="update", at=20, lost=True, name="reidx-v2.txt"),)
    ),
    "reindex-parsing": Scene(plans=(TWICE,), seconds=20.5, actions=(update(20),)),
    "reindex-splitting": Scene(plans=(TWICE,), seconds=21.01, actions=(update(20),)),
    "reindex-indexing": Scene(plans=(TWICE,), seconds=24, actions=(update(20),)),
    "reindexed": Scene(plans=(TWICE,), actions=(update(20),)),
    "with-metadata": Scene(plans=(DocumentPlan(name="reidx.txt", metadata={"team": "search"}),), actions=(update(20),)),
    "retried-ok": Scene(plans=(BROKEN,), actions=(Action(do="retry", at=20, life=Life(segments=4, characters=1736)),)),
    "stuck-indexing": Scene(
        plans=(DocumentPlan(segments=180),),
        actions=(update(20, segments=3200, fate="hangs"),),
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
    """The types of a JSON value; for a list, those of all elements together."""
    if isinstance(value, dict):
        return {key: shape(each) for key, each in value.items()}
    if isinstance(value, list):
        return [json.loads(each) for each in sorted({json.dumps(shape(each), sort_keys=True) for each in value})]
    return type(value).__name__


def values(value: Any) -> object:
    """The values that do not depend on ids, texts and the time of day."""
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
    """Run a scene up to the moment of its recording."""
    actions = tuple(action for action in scene.actions if action.at >= 0)
    early = tuple(action for action in scene.actions if action.at < 0)
    batch = BatchPlan(id=BATCH, queue=5 if early else 0, documents=scene.plans, actions=actions, lost=scene.lost)
    played = stage(Scenario(key=KEY, datasets=(DatasetPlan(id=DATASET, batches=(batch,)),)))
    for action in early:
        played.world.act(DATASET, Action(do=action.do, batch=BATCH))
    return played.after(scene.seconds)


def ask(played: Any, path: str, key: str = KEY, method: str = "GET") -> Any:
    """The answer for a path with its query."""
    path, _, query = path.partition("?")
    return played.api.handle(method, path, query, {"authorization": f"Bearer {key}"} if key else {})


def compare(recorded: dict[str, Any], response: Any, *, bodies: bool = True) -> None:
    """Compare an answer with a recorded one: status, headers, body."""
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
    """The recordings of an endpoint that the simulator can reproduce."""
    return sorted(path.stem for path in RECORDINGS.glob(f"{prefix}--*.json") if path.stem not in NOT_REPRODUCED)
