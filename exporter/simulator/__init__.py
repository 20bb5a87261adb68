"""An embedded Dify for demo, tests and benchmarks: simulated indexing on any clock, real quirks, faults on demand."""

from exporter.simulator.api import Api
from exporter.simulator.demo import demo_scenario, simulated_server, watched
from exporter.simulator.documents import document_id
from exporter.simulator.faults import Delivery, Response
from exporter.simulator.scenario import (
    Action,
    BatchPlan,
    DatasetPlan,
    DocumentPlan,
    Fault,
    Life,
    Rule,
    Scenario,
    ScenarioError,
    load_scenario,
)
from exporter.simulator.server import SimulatorServer
from exporter.simulator.world import World

__all__ = [
    "Action",
    "Api",
    "BatchPlan",
    "DatasetPlan",
    "Delivery",
    "DocumentPlan",
    "Fault",
    "Life",
    "Response",
    "Rule",
    "Scenario",
    "ScenarioError",
    "SimulatorServer",
    "World",
    "demo_scenario",
    "document_id",
    "load_scenario",
    "simulated_server",
    "watched",
]
