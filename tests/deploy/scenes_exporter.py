"""Servers that do not answer, targets that cannot be read, and an exporter in trouble."""

from __future__ import annotations

from exporter.simulator import Action, BatchPlan, DocumentPlan, Scenario
from exporter.simulator.scenario import DatasetPlan
from tests.deploy.scene import FIRST, HANDBOOK, SECOND, TICKETS, Firing, Scene, begin, do, end, fault, knowledge_base, mend, turn
from tests.deploy.scenes_indexing import DEAD, LOST, STEADY, stalled

KB = {"dataset_id": HANDBOOK, "dataset": "Handbook"}
REFUSED = '{"code":"unauthorized","message":"Access token is invalid","status":401}'
DISABLED = '{"code":"forbidden","message":"Dataset api access is not enabled.","status":403}'


def server(alert: str, severity: str = "critical") -> Firing:
    return Firing(alert, severity, "", "")


def exporter(alert: str, severity: str) -> Firing:
    return Firing(alert, severity, "", "", {"instance": "exporter:9439", "server": ""})


def of_server(alert: str, severity: str) -> Firing:
    return Firing(alert, severity, "", "", {"instance": "exporter:9439"})


SCENES = {
    "server-unreachable": Scene(
        "the API is away for half an hour while a batch works and another waits: nothing is called stalled",
        knowledge_base(STEADY, BatchPlan(id=SECOND, queue=1_500.0)),
        80,
        {9: (), 14: (), 17: (server("DifyServerUnreachable"),), 39: (server("DifyServerUnreachable"),), **dict.fromkeys(range(43, 80, 4), ())},
        {1: begin, 10: turn(reachable=False), 40: turn(reachable=True)},
    ),
    "server-unreachable-while-stalled": Scene(
        "what stood still before an outage is stalled until it is seen to move; what is lost in it shows after it",
        knowledge_base(DEAD),
        80,
        {24: (stalled("?"),), 39: (stalled("?"), server("DifyServerUnreachable")), 60: (stalled("?"),)},
        {1: begin, 25: turn(reachable=False), 45: turn(reachable=True)},
    ),
    "key-refused": Scene(
        "the key is refused, then a good one is put in its place",
        knowledge_base(STEADY),
        60,
        {9: (), 17: (server("DifyKeyRefused"),), 39: (server("DifyKeyRefused"),), 50: (), 59: ()},
        {1: begin, 10: fault(kind="json", status=401, body=REFUSED), 40: mend},
    ),
    "targets-unreadable": Scene(
        "a batch is gone, and the API access of another knowledge base is switched off and on",
        Scenario(
            workers=None,
            datasets=(
                DatasetPlan(id=HANDBOOK, name="Handbook", technique="high_quality", batches=(STEADY, BatchPlan(id=SECOND))),
                DatasetPlan(id=TICKETS, name="Tickets", batches=(BatchPlan(id="20261121093000200001", documents=(DocumentPlan(index=9_000.0),)),)),
            ),
        ),
        80,
        {
            9: (),
            20: (),
            39: (
                Firing("DifyTargetUnreadable", "warning", "", "", {**KB, "kind": "batch"}),
                Firing("DifyTargetUnreadable", "warning", "", "", {"dataset_id": TICKETS, "dataset": "Tickets", "kind": "batch"}),
            ),
            60: (Firing("DifyTargetUnreadable", "warning", "", "", {**KB, "kind": "batch"}),),
        },
        {
            1: begin,
            2: do(Action(do="delete", batch=SECOND)),
            10: fault(kind="json", status=403, body=DISABLED, id=TICKETS),
            40: mend,
        },
    ),
    "polls-late": Scene(
        "more targets than the budget of requests allows",
        knowledge_base(*(BatchPlan(id=f"2026112109300010{number:04}", documents=(DocumentPlan(index=9_000.0),)) for number in range(12)), ),
        50,
        {5: (), 30: (of_server("DifyPollsLate", "warning"),)},
        {1: begin},
        settings={"requests_per_second": 0.1},
    ),
    "series-limit": Scene(
        "a batch of five documents where two may have series",
        knowledge_base(BatchPlan(id=FIRST, documents=tuple(DocumentPlan(name=f"{number}") for number in range(5)))),
        40,
        {10: (), 20: (Firing("DifySeriesLimitReached", "warning", "", "", KB),), 39: ()},
        {1: begin, 25: do(Action(do="delete", batch=FIRST))},
        settings={"documents": 2},
    ),
    "clock-offset": Scene(
        "Dify's API runs in the zone of Shanghai; what stands still is called stalled all the same",
        knowledge_base(DEAD),
        40,
        {},
        {1: begin},
    ),
    "exporter-down": Scene(
        "the exporter is down for a while: the stall ends five minutes later, and is known again when it is back",
        knowledge_base(DEAD),
        60,
        {
            24: (stalled("?"),),
            29: (stalled("?"),),
            33: (exporter("DifyExporterDown", "critical"),),
            44: (exporter("DifyExporterDown", "critical"),),
            48: (stalled("?"),),
        },
        {1: begin, 25: end, 45: begin},
    ),
    "exporter-absent": Scene(
        "Prometheus does not know the exporter at first",
        knowledge_base(),
        40,
        {
            5: (),
            15: (Firing("DifyExporterAbsent", "critical", "", "", {"job": "", "server": ""}),),
            25: (),
        },
        {0: turn(known=False), 1: begin, 20: turn(known=True)},
    ),
    "scrapes-failing": Scene(
        "scrapes fail every few minutes; later no more",
        knowledge_base(STEADY),
        90,
        {9: (), 35: (exporter("DifyExporterScrapesFailing", "warning"),), 80: ()},
        {
            1: begin,
            **{10 + 6 * number: turn(scrapable=False) for number in range(5)},
            **{12 + 6 * number: turn(scrapable=True) for number in range(5)},
        },
    ),
    "reload-failed": Scene(
        "a configuration is refused, then mended",
        knowledge_base(STEADY),
        40,
        {9: (), 12: (), 17: (exporter("DifyConfigReloadFailed", "warning"),), 30: ()},
        {
            1: begin,
            10: lambda stage: stage.exporter.own.reloaded(stage.clock.time(), success=False),
            25: lambda stage: stage.exporter.own.reloaded(stage.clock.time(), success=True),
        },
    ),
    "state-not-saved": Scene(
        "the disk of the state is full for a while",
        knowledge_base(STEADY),
        60,
        {9: (), 19: (), 27: (exporter("DifyStateNotSaved", "warning"),), 40: ()},
        {1: begin, 10: turn(saving=False), 35: turn(saving=True)},
    ),
}
SCENES["clock-offset"] = Scene(
    SCENES["clock-offset"].name,
    Scenario(zone_offset=8, datasets=(DatasetPlan(id=HANDBOOK, name="Handbook", batches=(DEAD,)),)),
    40,
    {10: (), 25: (stalled("?"), of_server("DifyClockOffset", "info"))},
    {1: begin},
)
