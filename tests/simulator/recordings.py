"""The recorded answers, the scenes in which the simulator returns the same answers, and their comparison."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from exporter.simulator import Action, Attempt, BatchPlan, DatasetPlan, DocumentPlan, Rule, Scenario

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
    name="broken.docx", outcome="fails", phase="parsing", error="Package not found at 'storage/igmd01c9.docx'"
)
PAUSED = tuple(DocumentPlan(name=f"pz{n}.txt", segments=2223, parse=0, split=10, created_from="web") for n in range(3))
TWICE = DocumentPlan(name="reidx.txt", parse=1, split=1, index=2)
SECOND = Attempt(segments=334, characters=164_900, parse=1, split=2, index=3)


@dataclass(frozen=True)
class Setup:
    """The events that lead to a case, and when to read the answer."""

    plans: tuple[DocumentPlan, ...] = (DocumentPlan(name="small.txt"),)
    seconds: float = 60.0
    actions: tuple[Action, ...] = ()
    lost: bool = False


def update(at: float, **attempt: Any) -> Action:
    """Replace the text of the document; the new attempt is another one or ``SECOND``."""
    return Action(kind="update", at=at, name="reidx-v2.txt", attempt=Attempt(**attempt) if attempt else SECOND)


SETUPS = {
    "waiting": Setup(lost=True),
    "stuck-waiting": Setup(lost=True),
    "byfile-waiting": Setup(lost=True),
    "multi3-waiting": Setup(plans=PAUSED, lost=True),
    "completed": Setup(),
    "archived": Setup(actions=(Action(kind="archive", at=30),)),
    "disabled": Setup(actions=(Action(kind="disable", at=30),)),
    "blank-text": Setup(plans=(DocumentPlan(name="blank.txt", segments=0, characters=7),)),
    "empty-text": Setup(plans=(DocumentPlan(name="empty.txt", segments=0, characters=0),)),
    "custom": Setup(
        plans=(
            DocumentPlan(segments=180, characters=8_820, rule=Rule(mode="custom", max_tokens=100, chunk_overlap=10)),
        )
    ),
    "hier": Setup(plans=(DocumentPlan(segments=60, rule=Rule(mode="hierarchical")),)),
    "error-pdf": Setup(plans=(DocumentPlan(name="broken.pdf", outcome="fails", phase="parsing"),)),
    "error-docx": Setup(plans=(BROKEN,)),
    "large-parsing": Setup(plans=(LARGE,), seconds=0.001),
    "large-splitting": Setup(plans=(LARGE,), seconds=0.001),
    "large-indexing": Setup(plans=(LARGE,), seconds=30),
    "large-completed": Setup(plans=(LARGE,)),
    "paused": Setup(plans=PAUSED, actions=(Action(kind="pause", document="pz0.txt", at=8),)),
    "paused-midway": Setup(plans=PAUSED, seconds=8, actions=(Action(kind="pause", document="pz0.txt", at=7),)),
    "paused-settled": Setup(plans=PAUSED, actions=(Action(kind="pause", document="pz0.txt", at=8),)),
    "batch3-midway": Setup(plans=PAUSED, seconds=8),
    "waiting-paused": Setup(lost=True, actions=(Action(kind="pause", at=5),)),
    "waiting-paused-after-worker": Setup(actions=(Action(kind="pause", at=-1),)),
    "reindex": Setup(plans=(TWICE,), seconds=20.5, actions=(update(20),)),
    "reindex-midway": Setup(
        plans=(TWICE,), seconds=20.5, actions=(Action(kind="update", at=20, lost=True, name="reidx-v2.txt"),)
    ),
    "reindex-parsing": Setup(plans=(TWICE,), seconds=20.5, actions=(update(20),)),
    "reindex-splitting": Setup(plans=(TWICE,), seconds=21.01, actions=(update(20),)),
    "reindex-indexing": Setup(plans=(TWICE,), seconds=24, actions=(update(20),)),
    "reindexed": Setup(plans=(TWICE,), actions=(update(20),)),
    "with-metadata": Setup(plans=(DocumentPlan(name="reidx.txt", metadata={"team": "search"}),), actions=(update(20),)),
    "retried-ok": Setup(
        plans=(BROKEN,), actions=(Action(kind="retry", at=20, attempt=Attempt(segments=4, characters=1736)),)
    ),
    "stuck-indexing": Setup(
        plans=(DocumentPlan(segments=180),),
        actions=(update(20, segments=3200, outcome="hangs"),),
    ),
    "stuck-splitting": Setup(plans=(DocumentPlan(segments=200, outcome="dies", phase="splitting"),)),
    "b100": Setup(plans=tuple(DocumentPlan(name=f"{n}", segments=6, index=0.1, split=0.1) for n in range(100))),
    "deleted-batch": Setup(actions=(Action(kind="delete", at=30),)),
    "moved-batch": Setup(actions=(Action(kind="reupload", at=30, into="20261121174923206369"),)),
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
    compared = {
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
            key: each if key in compared else values(each)
            for key, each in value.items()
            if key in compared or isinstance(each, (dict, list))
        }
    if isinstance(value, list):
        return sorted(
            (values(each) for each in value if isinstance(each, dict)),
            key=lambda each: json.dumps(each, sort_keys=True),
        )
    return None


def set_up(run_scenario: Callable[..., Any], setup: Setup) -> Any:
    """Run a setup up to the moment of its recording."""
    actions = tuple(action for action in setup.actions if action.at >= 0)
    early = tuple(action for action in setup.actions if action.at < 0)
    batch = BatchPlan(id=BATCH, queue=5 if early else 0, documents=setup.plans, actions=actions, lost=setup.lost)
    simulation = run_scenario(Scenario(key=KEY, datasets=(DatasetPlan(id=DATASET, batches=(batch,)),)))
    for action in early:
        simulation.world.act(DATASET, Action(kind=action.kind, batch=BATCH))
    return simulation.after(setup.seconds)


def request(simulation: Any, path: str, key: str = KEY, method: str = "GET") -> Any:
    """The answer for a path with its query."""
    path, _, query = path.partition("?")
    return simulation.api.handle(method, path, query, {"authorization": f"Bearer {key}"} if key else {})


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
