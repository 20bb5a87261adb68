"""Scenes with documents that fail or complete with defects."""

from __future__ import annotations

from exporter.simulator import Action, BatchPlan, DocumentPlan, Rule, Scenario
from exporter.simulator.scenario import DatasetPlan
from tests.deploy.firings import (
    documents_empty,
    documents_failed,
    documents_incomplete,
    documents_paused,
    failure_ratio_high,
    indexing_slow,
    indexing_stalled,
)
from tests.deploy.scene import FIRST, HANDBOOK, SECOND, TICKETS, Act, Scene, begin, dataset, do, turn, upload
from tests.deploy.scenes_indexing import DEAD

LIMITED = "[openai] Rate Limit Error, Error code: 429 - {'message': 'Rate limit reached for embeddings'}"
GOOD = tuple(DocumentPlan(name=f"good {number}.txt") for number in range(8))
BAD = (
    *(DocumentPlan(name=f"bad {number}.xlsx", outcome="fails", error=LIMITED) for number in range(6)),
    DocumentPlan(name="broken.pdf", outcome="fails", phase="parsing"),
)
BOTH = '"bad 0.xlsx", "broken.pdf"'
MANY = '"bad 0.xlsx", "bad 1.xlsx", "bad 2.xlsx", "bad 3.xlsx", "bad 4.xlsx", …'


def _uploads(count: int, *, every: int, index: float) -> dict[float, Act]:
    """Batches of one document that takes ``index`` seconds to index, uploaded every ``every`` minutes."""
    document = DocumentPlan(index=index)
    return {
        2 + every * number: upload(BatchPlan(id=f"2026112109300020{number:04}", documents=(document,)))
        for number in range(count)
    }


SCENES = {
    "failed": Scene(
        "two of three documents fail, too few for the ratio alert; one is retried and completes",
        dataset(BatchPlan(id=FIRST, queue=120.0, documents=(GOOD[0], BAD[0], BAD[6]))),
        80,
        {
            2: (),
            10: (documents_failed(1, "rate_limit", BOTH), documents_failed(1, "unsupported", BOTH)),
            45: (documents_failed(1, "rate_limit", '"broken.pdf"'), documents_failed(1, "unsupported", '"broken.pdf"')),
            75: (),
        },
        {1: begin, 15: do(Action(kind="retry", batch=FIRST, document="bad 0.xlsx"))},
    ),
    "failure-ratio": Scene(
        "seven of fifteen documents fail",
        dataset(BatchPlan(id=FIRST, queue=120.0, documents=(*GOOD, *BAD))),
        80,
        {
            2: (),
            15: (
                documents_failed(6, "rate_limit", MANY),
                documents_failed(1, "unsupported", MANY),
                failure_ratio_high("46.67%", "rate_limit 6, unsupported 1"),
            ),
            75: (),
        },
        {1: begin},
    ),
    "failed-and-stalled-twice": Scene(
        "two exporters on one server cause one alert, and nothing is counted twice",
        Scenario(
            workers=None,
            datasets=dataset(BatchPlan(id=SECOND, queue=120.0, documents=(GOOD[0], BAD[0], BAD[1])), DEAD).datasets,
        ),
        30,
        {
            2: (),
            25: (documents_failed(2, "rate_limit", '"bad 0.xlsx", "bad 1.xlsx"'), indexing_stalled("21m 22s")),
        },
        {1: begin},
        twice=True,
    ),
    "empty": Scene(
        "a document without text completes without segments; two more are excluded as disabled and archived",
        dataset(
            BatchPlan(
                id=FIRST,
                documents=(
                    DocumentPlan(name="blank.txt", segments=0, characters=7),
                    DocumentPlan(name="off.txt", segments=0),
                    DocumentPlan(name="old.txt", segments=0),
                ),
                actions=(
                    Action(kind="disable", document="off.txt", at=30),
                    Action(kind="archive", document="old.txt", at=30),
                ),
            ),
            technique="economy",
        ),
        40,
        {8: (), 15: (documents_empty(1, '"blank.txt"'),), 39: ()},
        {1: begin, 20: do(Action(kind="delete", batch=FIRST, document="blank.txt"))},
    ),
    "incomplete": Scene(
        "a completed document has unindexed segments, which is normal with child chunks and with economy indexing",
        Scenario(
            workers=None,
            datasets=(
                DatasetPlan(
                    id=HANDBOOK,
                    name="Handbook",
                    technique="high_quality",
                    batches=(
                        BatchPlan(
                            id=FIRST,
                            documents=(
                                DocumentPlan(name="holes.txt", missing=3),
                                DocumentPlan(name="tree.txt", missing=3, rule=Rule(mode="hierarchical")),
                            ),
                        ),
                    ),
                ),
                DatasetPlan(
                    id=TICKETS,
                    name="Tickets",
                    technique="economy",
                    batches=(
                        BatchPlan(
                            id=SECOND,
                            documents=(
                                DocumentPlan(name="odd.txt", missing=3),
                                DocumentPlan(name="tree.txt", rule=Rule(mode="hierarchical")),
                            ),
                        ),
                    ),
                ),
            ),
        ),
        40,
        {8: (), 15: (documents_incomplete(1, '"holes.txt"'),), 39: ()},
        {1: begin, 20: do(Action(kind="update", batch=FIRST, document="holes.txt"))},
    ),
    "paused": Scene(
        "a document stays paused for a day; failed scrapes and an outage make no difference",
        dataset(
            BatchPlan(
                id=FIRST,
                documents=(DocumentPlan(name="held.txt", index=600.0),),
                actions=(Action(kind="pause", at=300.0), Action(kind="resume", at=26 * 3600.0)),
            )
        ),
        27 * 60,
        {60: (), 12 * 60: (), 24 * 60: (), 25 * 60: (documents_paused(1, '"held.txt"'),), 27 * 60 - 4: ()},
        {
            1: begin,
            600: turn(scrapable=False),
            604: turn(scrapable=True),
            700: turn(reachable=False),
            704: turn(reachable=True),
        },
        interval=240,
    ),
    "slow": Scene(
        "documents that took seconds now take minutes, but make progress",
        dataset(),
        310,
        {60: (), 120: (), 180: (), 225: (indexing_slow("4m 0s", "20s"),), 300: ()},
        {
            1: begin,
            **_uploads(24, every=5, index=20.0),
            185: upload(
                BatchPlan(id=FIRST, documents=tuple(DocumentPlan(name=f"{number}", index=240.0) for number in range(8)))
            ),
        },
        interval=60,
    ),
    "slow-but-few-twice": Scene(
        "three slow documents after ten fast ones are too few for an alert, even when two exporters count them",
        dataset(),
        310,
        dict.fromkeys(range(60, 310, 15), ()),
        {
            1: begin,
            **_uploads(10, every=12, index=20.0),
            185: upload(
                BatchPlan(id=FIRST, documents=tuple(DocumentPlan(name=f"{number}", index=240.0) for number in range(3)))
            ),
        },
        interval=60,
        twice=True,
    ),
    "slow-as-ever": Scene(
        "documents that have always taken minutes",
        dataset(),
        310,
        dict.fromkeys(range(30, 310, 30), ()),
        {
            1: begin,
            **_uploads(34, every=9, index=240.0),
        },
        interval=60,
    ),
}
