"""Scenes with stalled indexing, and with indexing that only looks stalled."""

from __future__ import annotations

from exporter.simulator import Action, BatchPlan, DocumentPlan, Rule, Scenario
from exporter.simulator.scenario import DatasetPlan
from tests.deploy.firings import (
    documents_fell_back,
    documents_stalled,
    indexing_queued,
    indexing_stalled,
    target_unreadable,
)
from tests.deploy.scene import FIRST, HANDBOOK, SECOND, TICKETS, Scene, begin, dataset, do, end, fault, turn

DEAD = BatchPlan(
    id=FIRST,
    documents=(
        DocumentPlan(name="rules.pdf", index=60.0),
        DocumentPlan(name="minutes.txt", segments=2_000, index=300.0, outcome="dies"),
        DocumentPlan(name="appendix.txt"),
    ),
)
LOST = BatchPlan(id=FIRST, lost=True, documents=(DocumentPlan(name="lost.txt"), DocumentPlan(name="found.txt")))
STEADY = BatchPlan(id=FIRST, documents=(DocumentPlan(name="novel.txt", segments=900, index=9_000.0),))

NAMELESS = '"05fa664f-7853-500f-ac67-d0681072b553", "1da950ed-9708-513d-bf24-213e5a49705a"'


SCENES = {
    "stalled": Scene(
        "a worker dies in the middle of a batch; its documents are retried and complete",
        dataset(DEAD),
        50,
        {10: (), 17: (), 22: (indexing_stalled("18m 22s"),), 30: (indexing_stalled("26m 22s"),), 45: ()},
        {
            1: begin,
            35: do(Action(kind="retry", batch=FIRST, document="minutes.txt")),
            36: do(Action(kind="retry", batch=FIRST, document="appendix.txt")),
        },
    ),
    "stalled-through-gaps": Scene(
        "one alert fires without interruption through failed scrapes and a restart, and resolves with the batch",
        dataset(DEAD),
        60,
        {
            **{minute: (indexing_stalled(f"{minute - 4}m 22s"),) for minute in range(20, 37)},
            43: (),
        },
        {
            1: begin,
            24: turn(scrapable=False),
            26: turn(scrapable=True),
            30: end,
            32: begin,
            36.5: do(Action(kind="delete", batch=FIRST)),
        },
    ),
    "stalled-without-names": Scene(
        "with the plugin daemon down, names are unknown and ids replace them",
        dataset(DEAD),
        26,
        {
            22: (
                indexing_stalled("18m 22s", HANDBOOK),
                target_unreadable(HANDBOOK, "server 6", kind="dataset", dataset=HANDBOOK),
            )
        },
        {0.5: fault(kind="plugin_down"), 1: begin},
    ),
    "queued": Scene(
        "the message of a batch is lost; the batch is deleted",
        dataset(LOST),
        60,
        {20: (), 30: (), 34: (indexing_queued("33m 0s"),), 50: (), 58: (target_unreadable(FIRST, "not_found 2"),)},
        {1: begin, 40: do(Action(kind="delete", batch=FIRST))},
    ),
    "documents-stalled": Scene(
        "discovery finds unindexed documents with unusual names",
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
                DatasetPlan(
                    id=TICKETS,
                    name="Tickets",
                    batches=(BatchPlan(documents=(DocumentPlan(index=60.0, outcome="dies"),)),),
                ),
            ),
        ),
        60,
        {
            10: (),
            25: (documents_stalled(1, '"document.txt"', "Tickets", TICKETS),),
            40: (
                documents_stalled(1, '"document.txt"', "Tickets", TICKETS),
                documents_stalled(
                    7,
                    '"C:\\exports\\1.csv", "The "new" guide.docx", "a", "b", "c", …',
                    'The "Handbook"\n2026',
                ),
            ),
        },
        {1: begin},
        settings={"datasets": (), "discover": True},
    ),
    "fallen-back": Scene(
        "a change of the embedding model returns completed documents to indexing; scrapes fail; documents recover",
        dataset(BatchPlan(id=FIRST, documents=(DocumentPlan(name="a.txt"), DocumentPlan(name="b.txt")))),
        80,
        {
            10: (),
            25: (),
            50: (documents_fell_back(2, '"a.txt", "b.txt"'),),
            **dict.fromkeys((54, 55, 56), (documents_fell_back(2, NAMELESS),)),
            60: (documents_fell_back(2, '"a.txt", "b.txt"'),),
            79: (),
        },
        {
            1: begin,
            20: do(Action(kind="fall_back", batch=FIRST)),
            53.5: turn(scrapable=False),
            56.5: turn(scrapable=True),
            65: do(Action(kind="come_back", batch=FIRST)),
        },
    ),
    "quiet": Scene(
        "long queues, slow but steady indexing, updates, pauses, deletions, a restart, failed scrapes, an API outage",
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
                            actions=(Action(kind="pause", at=200.0), Action(kind="resume", at=9_000.0)),
                        ),
                        BatchPlan(
                            id="20261121093000100004",
                            documents=(DocumentPlan(name="stays.txt"), DocumentPlan(name="moves.txt")),
                            actions=(
                                Action(kind="update", document="stays.txt", at=3_000.0),
                                Action(kind="reupload", document="moves.txt", at=6_000.0, into=SECOND),
                            ),
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
            180: do(Action(kind="delete", batch="20261121093000100005", document="8.txt")),
        },
        interval=60,
    ),
}
