"""What a scene consists of: events in Dify and in the exporter, and the alerts expected at given times."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from exporter.polling import BATCH_STATUS, Target
from exporter.simulator import Action, BatchPlan, DatasetPlan, Fault, Scenario
from tests.deploy.stage import Stage

Act = Callable[[Stage], object]

HANDBOOK = "5f1d9a2e-6c0b-4d5e-9a43-0c9b7e2d1a01"
TICKETS = "5f1d9a2e-6c0b-4d5e-9a43-0c9b7e2d1a02"
FIRST, SECOND = "20261121093000100001", "20261121093000100002"


@dataclass(frozen=True, slots=True)
class Firing:
    """An alert as expected. ``labels``: without the alert name and the labels that all alerts of a scene share."""

    alert: str
    severity: str
    summary: str
    description: str
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Scene:
    """A unit test of the rules.

    ``acts``: actions by minute. ``fires``: exactly these alerts fire at each of these minutes; () means that no alert
    fires. ``interval``: seconds between scrapes. ``settings``: of the server, plus ``documents`` (the limit) and
    ``polling``. ``twice``: a second exporter sees the same.
    """

    name: str
    scenario: Scenario
    minutes: float
    fires: Mapping[float, Sequence[Firing]]
    acts: Mapping[float, Act] = field(default_factory=dict)
    interval: int = 30
    settings: Mapping[str, Any] = field(default_factory=dict)
    twice: bool = False


def dataset(*batches: Any, **given: Any) -> Scenario:
    """A server with one knowledge base, *Handbook*, with high-quality indexing by default."""
    settings = {"id": HANDBOOK, "name": "Handbook", "technique": "high_quality", "batches": batches} | given
    return Scenario(datasets=(DatasetPlan(**settings),))


def begin(stage: Stage) -> None:
    """Start the exporter."""
    stage.start()


def end(stage: Stage) -> None:
    """Stop the exporter."""
    stage.stop()


def turn(**switches: bool) -> Act:
    """Set switches of the stage."""

    def act(stage: Stage) -> None:
        for name, value in switches.items():
            setattr(stage, name, value)

    return act


def unmount(stage: Stage) -> None:
    """Unmount the volume with the state file."""
    stage.volume.rename(stage.volume.with_name("unmounted"))


def mount(stage: Stage) -> None:
    """Mount the volume again."""
    stage.volume.with_name("unmounted").rename(stage.volume)


def web_config(text: str) -> Act:
    """Write the web config file; only an exporter started after that uses it."""
    return lambda stage: stage.web_config.write_text(text, encoding="utf-8")


def certificate(start: float, end: float) -> Act:
    """Use a certificate that is valid for this time, in minutes from now."""

    def act(stage: Stage) -> None:
        now = stage.clock.time()
        stage.certificate = now + 60 * start, now + 60 * end

    return act


def do(action: Action, dataset: str = HANDBOOK) -> Act:
    """Apply an action to documents."""
    return lambda stage: stage.world.act(dataset, action)


def upload(plan: BatchPlan, dataset: str = HANDBOOK) -> Act:
    """Upload a batch and watch it, like a program that writes a batch file."""

    def act(stage: Stage) -> None:
        batch = stage.world.add_batch(dataset, plan)
        stage.exporter.poller.watch([Target(BATCH_STATUS, dataset, batch)])

    return act


def fault(**given: Any) -> Act:
    """Add a fault to the API."""
    return lambda stage: stage.api.faults.add(Fault(**given))


def mend(stage: Stage) -> None:
    """Clear all faults."""
    stage.api.faults.clear()
