"""A small server that shows every outcome of indexing within a minute and stays active after that."""

from __future__ import annotations

from pathlib import Path

from exporter.config import DatasetConfig, Secret, ServerConfig
from exporter.simulator.documents import document_id
from exporter.simulator.scenario import Scenario, load_scenario


def demo_scenario() -> Scenario:
    """Waiting, parsing, indexing, completed, failed, paused, dead and lost documents, in eight batches."""
    return load_scenario(Path(__file__).with_name("demo.yaml"))


def dataset_configs(scenario: Scenario, *, documents: bool = False) -> tuple[DatasetConfig, ...]:
    """The datasets of a scenario and those of their batches that are planned with an id, for a configuration.

    With ``documents``, their documents as well, although the batches already cover them.
    """
    return tuple(
        DatasetConfig(
            id=plan.id,
            batches=tuple(batch.id for batch in plan.batches if batch.id),
            documents=tuple(
                document_id(plan.id, batch.id, number, document)
                for batch in plan.batches
                if batch.id and documents
                for number, document in enumerate(batch.documents)
            ),
        )
        for plan in scenario.datasets
    )


def server_config(scenario: Scenario, url: str, *, name: str = "demo") -> ServerConfig:
    """The server entry of a configuration that watches a scenario served at ``url``."""
    return ServerConfig(name=name, url=url, api_key=Secret(scenario.key), datasets=dataset_configs(scenario))
