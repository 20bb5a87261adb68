"""An embedded Dify for demo, tests and benchmarks: simulated indexing on any clock, real quirks, faults on demand."""

from exporter.simulator.api import Api
from exporter.simulator.demo import dataset_configs, demo_scenario, server_config
from exporter.simulator.documents import document_id
from exporter.simulator.scenario import (
    Action,
    Attempt,
    BatchPlan,
    DatasetPlan,
    DocumentPlan,
    Fault,
    Rule,
    Scenario,
    ScenarioError,
    load_scenario,
)
from exporter.simulator.server import SimulatorServer
from exporter.simulator.world import World
