"""Scenes with unavailable servers, failing polls, and an exporter in trouble."""

from __future__ import annotations

from exporter.config import Polling
from exporter.simulator import Action, BatchPlan, DocumentPlan, Scenario
from exporter.simulator.scenario import DatasetPlan
from tests.deploy.firings import (
    certificate_expires,
    clock_offset,
    config_reload_failed,
    exporter_absent,
    exporter_down,
    exporter_scrapes_failing,
    indexing_stalled,
    key_refused,
    polls_late,
    series_limit_reached,
    server_unreachable,
    state_not_saved,
    target_unreadable,
    web_config_reload_failed,
)
from tests.deploy.scene import (
    FIRST,
    HANDBOOK,
    SECOND,
    TICKETS,
    Scene,
    begin,
    certificate,
    dataset,
    do,
    end,
    fault,
    mend,
    mount,
    turn,
    unmount,
    web_config,
)
from tests.deploy.scenes_indexing import DEAD, STEADY

REFUSED = '{"code":"unauthorized","message":"Access token is invalid","status":401}'
BROKEN = '{"code":"internal_server_error","message":"Internal Server Error","status":500}'
DISABLED = '{"code":"forbidden","message":"Dataset api access is not enabled.","status":403}'


SCENES = {
    "server-unreachable": Scene(
        "the API is down for half an hour while one batch is processed and another is queued: no stall is reported",
        Scenario(workers=None, datasets=dataset(STEADY, BatchPlan(id=SECOND, queue=1_500.0)).datasets),
        80,
        {
            9: (),
            14: (),
            17: (server_unreachable("connect 7"),),
            39: (server_unreachable("connect 3"),),
            **dict.fromkeys(range(48, 80, 4), ()),
        },
        {1: begin, 10: turn(reachable=False), 40: turn(reachable=True)},
    ),
    "server-unreachable-while-stalled": Scene(
        "a batch that stalled before an outage stays stalled until it progresses; one lost in the outage stalls later",
        dataset(DEAD),
        80,
        {
            24: (indexing_stalled("20m 22s"),),
            39: (indexing_stalled("35m 22s"), server_unreachable("connect 8")),
            60: (indexing_stalled("56m 22s"),),
        },
        {1: begin, 25: turn(reachable=False), 45: turn(reachable=True)},
    ),
    "key-refused": Scene(
        "the key is rejected, then replaced with a valid one",
        dataset(STEADY),
        60,
        {9: (), 17: (key_refused(),), 39: (key_refused(),), 50: (), 59: ()},
        {1: begin, 10: fault(kind="json", status=401, body=REFUSED), 40: mend},
    ),
    "key-refused-and-rare-polls": Scene(
        "the alert does not flap, however rarely idle batches are polled",
        dataset(STEADY),
        150,
        {9: (), **dict.fromkeys(range(20, 140, 5), (key_refused(),)), 149: ()},
        {1: begin, 10: fault(kind="json", status=401, body=REFUSED), 140: mend},
        settings={"polling": Polling(max_interval=300.0, settled_interval=600.0)},
    ),
    "targets-unreadable": Scene(
        "a batch is deleted, and API access of another knowledge base is disabled and enabled again",
        Scenario(
            workers=None,
            datasets=(
                DatasetPlan(
                    id=HANDBOOK, name="Handbook", technique="high_quality", batches=(STEADY, BatchPlan(id=SECOND))
                ),
                DatasetPlan(
                    id=TICKETS,
                    name="Tickets",
                    technique="high_quality",
                    batches=(BatchPlan(id="20261121093000200001", documents=STEADY.documents),),
                ),
            ),
        ),
        80,
        {
            9: (),
            20: (),
            39: (
                target_unreadable(SECOND, "forbidden 9, not_found 2"),
                target_unreadable(
                    "20261121093000200001", "forbidden 9, not_found 2", dataset="Tickets", dataset_id=TICKETS
                ),
            ),
            60: (target_unreadable(SECOND, "forbidden 10, not_found 3"),),
        },
        {
            1: begin,
            2: do(Action(kind="delete", batch=SECOND)),
            10: fault(kind="json", status=403, body=DISABLED, id=TICKETS),
            40: mend,
        },
    ),
    "batch-unreadable": Scene(
        "polls of one batch fail while all other targets are finished and rarely polled; much later all polls fail",
        Scenario(workers=None, datasets=dataset(STEADY, BatchPlan(id=SECOND)).datasets),
        360,
        {
            15: (),
            **{
                minute: (target_unreadable(FIRST, f"server {failures}"),)
                for minute, failures in ((22, 5), (60, 14), (120, 26), (150, 32), (180, 38), (210, 44), (240, 50))
            },
            350: (server_unreachable("server 9"),),
        },
        {
            0: fault(kind="json", status=500, body=BROKEN, id=FIRST),
            1: begin,
            250: fault(kind="json", status=500, body=BROKEN),
        },
        interval=60,
    ),
    "database-down": Scene(
        "all answers are errors while one batch is processed, another is finished: the server alerts, no target does",
        Scenario(workers=None, datasets=dataset(STEADY, BatchPlan(id=SECOND)).datasets),
        110,
        {
            39: (),
            47: (server_unreachable("server 21"),),
            60: (server_unreachable("server 12"),),
            75: (server_unreachable("server 10"),),
            90: (),
            105: (),
        },
        {1: begin, 40: fault(kind="json", status=500, body=BROKEN), 80: mend},
    ),
    "polls-late": Scene(
        "more targets than the request budget allows",
        dataset(
            *(
                BatchPlan(id=f"2026112109300010{number:04}", documents=(DocumentPlan(index=9_000.0),))
                for number in range(12)
            ),
        ),
        50,
        {5: (), 30: (polls_late("1m 31s"),)},
        {1: begin},
        settings={"requests_per_second": 0.1},
    ),
    "series-limit": Scene(
        "a batch of five documents with a limit of two documents",
        dataset(BatchPlan(id=FIRST, documents=tuple(DocumentPlan(name=f"{number}") for number in range(5)))),
        40,
        {10: (), 20: (series_limit_reached(3),), 39: ()},
        {1: begin, 25: do(Action(kind="delete", batch=FIRST))},
        settings={"documents": 2},
    ),
    "clock-offset": Scene(
        "Dify's API runs in the time zone of Shanghai; stalls are detected nevertheless",
        Scenario(zone_offset=8, datasets=dataset(DEAD).datasets),
        40,
        {10: (), 27: (indexing_stalled("23m 22s"), clock_offset("8h 0m 4s"))},
        {1: begin},
    ),
    "exporter-down": Scene(
        "the exporter is down for a while: the stall alert resolves after five minutes and fires again later",
        dataset(DEAD),
        60,
        {
            24: (indexing_stalled("20m 22s"),),
            29: (indexing_stalled("25m 22s"),),
            33: (exporter_down(),),
            44: (exporter_down(),),
            48: (indexing_stalled("44m 22s"),),
        },
        {1: begin, 25: end, 45: begin},
    ),
    "exporter-absent": Scene(
        "Prometheus has no target for the exporter at first",
        dataset(),
        40,
        {
            5: (),
            15: (exporter_absent(),),
            25: (),
        },
        {0: turn(known=False), 1: begin, 20: turn(known=True)},
    ),
    "scrapes-failing": Scene(
        "scrapes fail every few minutes, then recover",
        dataset(STEADY),
        90,
        {9: (), 35: (exporter_scrapes_failing("10s"),), 80: ()},
        {
            1: begin,
            **{10 + 6 * number: turn(scrapable=False) for number in range(5)},
            **{12 + 6 * number: turn(scrapable=True) for number in range(5)},
        },
    ),
    "reload-failed": Scene(
        "a configuration is rejected, then fixed",
        dataset(STEADY),
        40,
        {9: (), 12: (), 17: (config_reload_failed(),), 30: ()},
        {
            1: begin,
            10: lambda stage: stage.exporter.self_metrics.reloaded(stage.clock.time(), success=False),
            25: lambda stage: stage.exporter.self_metrics.reloaded(stage.clock.time(), success=True),
        },
    ),
    "web-config-broken": Scene(
        "a web config file is rejected, then fixed",
        dataset(STEADY),
        40,
        {9: (), 12: (), 17: (web_config_reload_failed(),), 30: ()},
        {0: web_config("{}"), 1: begin, 10: web_config("basic_auth_users: {prometheus: secret}"), 25: web_config("{}")},
    ),
    "certificate-expires": Scene(
        "a certificate that is valid for 100 minutes is renewed late",
        dataset(STEADY),
        60,
        {19: (), 34: (), 37: (certificate_expires("expires in 3m 0s"),), 50: ()},
        {0: certificate(-60, 40), 1: begin, 39: certificate(0, 100)},
    ),
    "certificate-expired": Scene(
        "a certificate has expired, which a Prometheus that does not verify it sees",
        dataset(STEADY),
        30,
        {14: (), 20: (certificate_expires("has expired"),)},
        {0: certificate(-100, 0), 1: begin},
    ),
    "state-not-saved": Scene(
        "the volume of the state file is unmounted for a while",
        dataset(STEADY),
        60,
        {9: (), 19: (), 27: (state_not_saved("last saved its state 17m 0s ago"),), 40: ()},
        {1: begin, 10: unmount, 35: mount},
    ),
    "state-never-saved": Scene(
        "the volume of the state file is missing at startup",
        dataset(STEADY),
        40,
        {5: (), 10: (), 15: (state_not_saved("has not saved its state since it started"),), 30: ()},
        {0: unmount, 1: begin, 20: mount},
    ),
    "state-save-hangs": Scene(
        "a save of the state hangs",
        dataset(STEADY),
        50,
        {9: (), 24: (), 27: (state_not_saved("last saved its state 17m 0s ago"),), 40: ()},
        {1: begin, 10: turn(saving=False), 30: turn(saving=True)},
    ),
}
