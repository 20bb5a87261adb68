"""What a scene is: what happens in Dify and to the exporter, and which alerts are to fire when."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from exporter.simulator import Action, BatchPlan, DatasetPlan, Fault, Scenario
from exporter.tracking import Target
from tests.deploy.stage import Stage

Act = Callable[[Stage], object]

HANDBOOK = "5f1d9a2e-6c0b-4d5e-9a43-0c9b7e2d1a01"
TICKETS = "5f1d9a2e-6c0b-4d5e-9a43-0c9b7e2d1a02"
FIRST, SECOND = "20261121093000100001", "20261121093000100002"


@dataclass(frozen=True, slots=True)
class Firing:
    """An alert as it is to fire. ``labels``: without its name, and without what all alerts of a scene have."""

    alert: str
    severity: str
    summary: str
    description: str
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Scene:
    """A unit test of the rules.

    ``acts``: what is done when, in minutes. ``fires``: at each of these minutes exactly these alerts fire; () means
    that all is quiet. ``interval``: seconds between scrapes. ``settings``: of the server; ``documents``, the limit;
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


def knowledge_base(*batches: Any, **given: Any) -> Scenario:
    """A server with one knowledge base, *Handbook*, high-quality unless told otherwise."""
    settings = {"id": HANDBOOK, "name": "Handbook", "technique": "high_quality", "batches": batches} | given
    return Scenario(datasets=(DatasetPlan(**settings),))


def begin(stage: Stage) -> None:
    """Start the exporter."""
    stage.start()


def end(stage: Stage) -> None:
    """Stop it."""
    stage.stop()


def turn(**switches: bool) -> Act:
    """Set switches of the stage."""

    def act(stage: Stage) -> None:
        for name, value in switches.items():
            setattr(stage, name, value)

    return act


def unmount(stage: Stage) -> None:
    """Take the volume of the state away."""
    stage.volume.rename(stage.volume.with_name("unmounted"))


def mount(stage: Stage) -> None:
    """Bring it back."""
    stage.volume.with_name("unmounted").rename(stage.volume)


def web_config(text: str) -> Act:
    """Write the web config file; an exporter that starts without one follows none."""
    return lambda stage: stage.web_config.write_text(text, encoding="utf-8")


def do(action: Action, dataset: str = HANDBOOK) -> Act:
    """Do something to documents."""
    return lambda stage: stage.world.act(dataset, action)


def upload(plan: BatchPlan, dataset: str = HANDBOOK) -> Act:
    """Upload a batch and watch it, as a program that writes a batch file does."""

    def act(stage: Stage) -> None:
        batch = stage.world.add_batch(dataset, plan)
        stage.exporter.poller.watch([Target("batch", dataset, batch)])

    return act


def fault(**given: Any) -> Act:
    """Let answers go wrong from now on."""
    return lambda stage: stage.api.faults.add(Fault(**given))


def mend(stage: Stage) -> None:
    """No more faults."""
    stage.api.faults.clear()
