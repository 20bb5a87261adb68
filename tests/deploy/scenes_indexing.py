"""Indexing that stands still, and what only looks so."""

from __future__ import annotations

from exporter.simulator import Action, BatchPlan, DocumentPlan, Rule, Scenario
from exporter.simulator.scenario import DatasetPlan
from tests.deploy.scene import FIRST, HANDBOOK, SECOND, TICKETS, Firing, Scene, begin, do, end, fault, knowledge_base, turn

DEAD = BatchPlan(
    id=FIRST,
    documents=(
        DocumentPlan(name="rules.pdf", index=60.0),
        DocumentPlan(name="minutes.txt", segments=2_000, index=300.0, fate="dies"),
        DocumentPlan(name="appendix.txt"),
    ),
)
LOST = BatchPlan(id=FIRST, lost=True, documents=(DocumentPlan(name="lost.txt"), DocumentPlan(name="found.txt")))
STEADY = BatchPlan(id=FIRST, documents=(DocumentPlan(name="novel.txt", segments=900, index=9_000.0),))


def stalled(idle: str, dataset: str = "Handbook", batch: str = FIRST) -> Firing:
    """The alert on a batch that a worker has taken up."""
    return Firing("DifyIndexingStalled", "critical", f"{dataset}", f"{idle}", {"dataset_id": HANDBOOK, "dataset": dataset, "batch": batch})


def queued(waiting: str, dataset: str = "Handbook") -> Firing:
    """The alert on a batch that no worker has taken up."""
    return Firing("DifyIndexingQueued", "critical", f"{dataset}", f"{waiting}", {"dataset_id": HANDBOOK, "dataset": dataset, "batch": FIRST})


def documents(alert: str, dataset_id: str = HANDBOOK, dataset: str = "Handbook") -> Firing:
    """The alert on documents whose batch is not known."""
    return Firing(alert, "critical", "", "", {"dataset_id": dataset_id, "dataset": dataset})


SCENES = {
    "stalled": Scene(
        "a worker dies in the middle of a batch; its documents are retried and complete",
        knowledge_base(DEAD),
        50,
        {10: (), 17: (), 22: (stalled("18m"),), 30: (stalled("26m"),), 45: ()},
        {
            1: begin,
            35: do(Action(do="retry", batch=FIRST, document="minutes.txt")),
            36: do(Action(do="retry", batch=FIRST, document="appendix.txt")),
        },
    ),
    "stalled-through-gaps": Scene(
        "the alert stays one and the same through failed scrapes and a restart, and ends with the batch",
        knowledge_base(DEAD),
        60,
        {
            **dict.fromkeys((22, 23, 24, 25, 26, 27, 28, 29, 30, 31, 32, 33, 34), (stalled("?"),)),
            36: (stalled("?"),),
            48: (),
        },
        {
            1: begin,
            24: turn(scrapable=False),
            26: turn(scrapable=True),
            30: end,
            32: begin,
            36.5: do(Action(do="delete", batch=FIRST)),
        },
    ),
    "stalled-without-names": Scene(
        "with the plugin daemon down no name can be had; the ids stand in their place",
        knowledge_base(DEAD),
        26,
        {22: (stalled("?", HANDBOOK), Firing("DifyTargetUnreadable", "warning", "", "", {"dataset_id": HANDBOOK, "dataset": HANDBOOK, "kind": "dataset"}))},
        {0.5: fault(kind="plugin_down"), 1: begin},
    ),
    "queued": Scene(
        "the message of a batch is lost; the batch is deleted",
        knowledge_base(LOST),
        60,
        {20: (), 30: (), 34: (queued("?"),), 58: ()},
        {1: begin, 40: do(Action(do="delete", batch=FIRST))},
    ),
    "documents-stalled": Scene(
        "discovery finds documents that nobody indexes and that have odd names",
        Scenario(
            datasets=(
                DatasetPlan(
                    id=HANDBOOK,
                    name='The "Handbook"\n2026',
                    batches=(
                        BatchPlan(
                            lost=True,
                            documents=tuple(
                                DocumentPlan(name=name)
                                for name in ('The "new" guide.docx', "C:\\exports\\1.csv", "two\nlines.txt", *"abcd")
                            ),
                        ),
                    ),
                ),
                DatasetPlan(id=TICKETS, name="Tickets", batches=(BatchPlan(documents=(DocumentPlan(index=60.0, fate="dies"),)),)),
            ),
        ),
        60,
        {
            10: (),
            25: (documents("DifyDocumentsStalled", TICKETS, "Tickets"),),
            40: (documents("DifyDocumentsStalled", TICKETS, "Tickets"), documents("DifyDocumentsStalled", HANDBOOK, 'The "Handbook"\n2026')),
        },
        {1: begin},
        settings={"datasets": (), "discover": True},
    ),
    "fallen-back": Scene(
        "completed documents are set to indexing by a change of the embedding model, and come back",
        knowledge_base(BatchPlan(id=FIRST, documents=(DocumentPlan(name="a.txt"), DocumentPlan(name="b.txt")))),
        80,
        {10: (), 25: (), 50: (documents("DifyDocumentsFellBack"),), 79: ()},
        {1: begin, 20: do(Action(do="fall_back", batch=FIRST)), 65: do(Action(do="come_back", batch=FIRST))},
    ),
    "quiet": Scene(
        "long queues, steady and slow lives, updates, pauses, deletions, a restart, gaps and an outage of the API",
        Scenario(
            workers=None,
            datasets=(
                DatasetPlan(
                    id=HANDBOOK,
                    name="Handbook",
                    technique="high_quality",
                    batches=(
                        STEADY,
                        BatchPlan(id=SECOND, queue=1_700.0),
                        BatchPlan(
                            id="20261121093000100003",
                            documents=(DocumentPlan(name="held.txt", index=600.0), DocumentPlan(name="next.txt")),
                            actions=(Action(do="pause", at=200.0), Action(do="resume", at=9_000.0)),
                        ),
                        BatchPlan(
                            id="20261121093000100004",
                            actions=(Action(do="update", at=3_000.0), Action(do="reupload", at=6_000.0, into=SECOND)),
                        ),
                        BatchPlan(
                            id="20261121093000100005",
                            documents=tuple(DocumentPlan(name=f"{number}.txt", index=800.0) for number in range(9)),
                        ),
                    ),
                ),
                DatasetPlan(
                    id=TICKETS,
                    name="Tickets",
                    technique="economy",
                    batches=(
                        BatchPlan(
                            id="20261121093000200001",
                            documents=(
                                DocumentPlan(name="tree.txt", rule=Rule(mode="hierarchical")),
                                DocumentPlan(name="long.txt", segments=4_000, index=800.0),
                            ),
                        ),
                    ),
                ),
                DatasetPlan(
                    id="5f1d9a2e-6c0b-4d5e-9a43-0c9b7e2d1a03",
                    name="Website",
                    technique="high_quality",
                    pipeline=True,
                    batches=(BatchPlan(id="20261121093000300001", documents=(DocumentPlan(index=1_700.0),)),),
                ),
            ),
        ),
        190,
        dict.fromkeys(range(5, 190, 5), ()),
        {
            1: begin,
            40: turn(scrapable=False),
            42: turn(scrapable=True),
            60: end,
            62: begin,
            80: turn(reachable=False),
            83: turn(reachable=True),
            180: do(Action(do="delete", batch="20261121093000100005", document="8.txt")),
        },
        interval=60,
    ),
}
