"""Documents that end badly, or not as they should."""

from __future__ import annotations

from exporter.simulator import Action, BatchPlan, DocumentPlan, Rule, Scenario
from exporter.simulator.scenario import DatasetPlan
from tests.deploy.scene import FIRST, HANDBOOK, SECOND, TICKETS, Firing, Scene, begin, do, knowledge_base, turn

LIMITED = "[openai] Rate Limit Error, Error code: 429 - {'message': 'Rate limit reached for embeddings'}"
KB = {"dataset_id": HANDBOOK, "dataset": "Handbook"}


def failed(reason: str) -> Firing:
    return Firing("DifyDocumentsFailed", "warning", "", "", {**KB, "reason": reason})


def plain(alert: str, severity: str = "warning", **labels: str) -> Firing:
    return Firing(alert, severity, "", "", {**KB, **labels})


GOOD = tuple(DocumentPlan(name=f"good {number}.txt") for number in range(8))
BAD = (
    *(DocumentPlan(name=f"bad {number}.xlsx", fate="fails", error=LIMITED) for number in range(6)),
    DocumentPlan(name="broken.pdf", fate="fails", phase="parsing"),
)
SCENES = {
    "failed": Scene(
        "two of three documents fail: too few for a ratio; one is retried and completes",
        knowledge_base(BatchPlan(id=FIRST, queue=120.0, documents=(GOOD[0], BAD[0], BAD[6]))),
        80,
        {2: (), 10: (failed("rate_limit"), failed("unsupported")), 30: (failed("rate_limit"), failed("unsupported")), 75: ()},
        {1: begin, 15: do(Action(do="retry", batch=FIRST, document="bad 0.xlsx"))},
    ),
    "failure-ratio": Scene(
        "seven of fifteen documents fail",
        knowledge_base(BatchPlan(id=FIRST, queue=120.0, documents=(*GOOD, *BAD))),
        80,
        {2: (), 15: (failed("rate_limit"), failed("unsupported"), plain("DifyFailureRatioHigh", "critical")), 75: ()},
        {1: begin},
    ),
    "empty": Scene(
        "a document without text is completed without segments, of two others one is disabled and one archived",
        knowledge_base(
            BatchPlan(
                id=FIRST,
                documents=(
                    DocumentPlan(name="blank.txt", segments=0, characters=7),
                    DocumentPlan(name="off.txt", segments=0),
                    DocumentPlan(name="old.txt", segments=0),
                ),
                actions=(Action(do="disable", document="off.txt", at=30), Action(do="archive", document="old.txt", at=30)),
            ),
            technique="economy",
        ),
        40,
        {8: (), 15: (plain("DifyDocumentsEmpty"),), 39: ()},
        {1: begin, 20: do(Action(do="delete", batch=FIRST, document="blank.txt"))},
    ),
    "incomplete": Scene(
        "segments of a completed document are missing, which is normal where chunks have children, and with economy",
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
        {8: (), 15: (plain("DifyDocumentsIncomplete"),), 39: ()},
        {1: begin, 20: do(Action(do="update", batch=FIRST, document="holes.txt"))},
    ),
    "paused": Scene(
        "a document is paused and forgotten for a day; gaps and an outage do not matter",
        knowledge_base(
            BatchPlan(
                id=FIRST,
                documents=(DocumentPlan(name="held.txt", index=600.0),),
                actions=(Action(do="pause", at=300.0), Action(do="resume", at=26 * 3600.0)),
            )
        ),
        27 * 60,
        {60: (), 12 * 60: (), 24 * 60: (), 25 * 60: (plain("DifyDocumentsPaused", "info"),), 27 * 60 - 4: ()},
        {1: begin, 600: turn(scrapable=False), 604: turn(scrapable=True), 700: turn(reachable=False), 704: turn(reachable=True)},
        interval=120,
    ),
    "slow": Scene(
        "documents that took some seconds for hours take minutes; progress goes on",
        Scenario(
            workers=1,
            datasets=(
                DatasetPlan(
                    id=HANDBOOK,
                    name="Handbook",
                    technique="high_quality",
                    batches=(
                        *(
                            BatchPlan(id=f"2026112109300010{number:04}", at=number * 300, documents=(DocumentPlan(index=20.0),))
                            for number in range(24)
                        ),
                        BatchPlan(
                            id="20261121093000109000",
                            at=11_000,
                            documents=tuple(DocumentPlan(name=f"{number}", index=240.0) for number in range(8)),
                        ),
                    ),
                ),
            ),
        ),
        290,
        {60: (), 120: (), 180: (), 225: (plain("DifyIndexingSlow", phase="total"),), 289: ()},
        {1: begin},
        interval=60,
        settings={"discover": True},
    ),
}
