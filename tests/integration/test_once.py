"""``dify-exporter once`` as a process: one round, the page on standard output, an exit code for scripts."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

from prometheus_client.parser import text_string_to_metric_families

from exporter.config import DatasetConfig
from exporter.simulator import Fault, dataset_configs
from tests.integration.harness import KEY, exporter, run, tool, until

if TYPE_CHECKING:
    from exporter.simulator import SimulatorServer
    from tests.integration.conftest import Configure, Start


def test_everything_is_polled_and_printed_once(configure: Configure, dify: SimulatorServer) -> None:
    """Each batch and each document's detail is requested once; the page has them all, exit code 0."""
    done = exporter("once", "--config.file", configure())
    samples = [sample for family in text_string_to_metric_families(done.out) for sample in family.samples]
    scenario = dify.api.world.scenario
    documents = sum(len(batch.documents) for dataset in scenario.datasets for batch in dataset.batches)

    assert (0, "") == (done.code, done.err)
    assert documents == sum(sample.name == "dify_document_info" for sample in samples)
    assert documents == sum(sample.name == "dify_document_enabled" for sample in samples)
    assert documents == dify.api.requests["document"]
    assert sum(len(dataset.batches) for dataset in dataset_configs(scenario)) == dify.api.requests["indexing-status"]


def test_the_output_fits_into_the_page_of_another_exporter(configure: Configure) -> None:
    """node_exporter adds the output to its own page, so every metric has a name that only this exporter uses."""
    done = exporter("once", "--config.file", configure())
    names = {line.split()[2] for line in done.out.splitlines() if line.startswith("# TYPE ")}

    assert "dify_exporter_build_info" in names
    assert set() == {name for name in names if not name.startswith("dify_")}


def test_promtool_finds_no_problem_in_the_output(configure: Configure) -> None:
    """Prometheus' own linter finds no problem in the page."""
    promtool = tool("promtool")
    page = exporter("once", "--config.file", configure()).out
    checked = run(promtool, "check", "metrics", stdin=page)

    assert (0, "", "") == checked


def test_a_failed_target(configure: Configure, dify: SimulatorServer) -> None:
    """If the poll of one target fails, the page of all others is printed, the log names the target, exit code 1."""
    dataset = dataset_configs(dify.api.world.scenario)[0]
    lost = "20200101000000999999"
    path = configure(datasets=[DatasetConfig(dataset.id, batches=(*dataset.batches, lost))])
    done = exporter("once", "--config.file", path)

    assert 1 == done.code
    assert [lost] == [line.rpartition("target=")[2] for line in done.err.splitlines()]
    assert all(f'batch="{batch}"' in done.out for batch in dataset.batches)
    assert f'batch="{lost}"' not in done.out


def test_targets_that_are_due_again_are_not_polled(configure: Configure, dify: SimulatorServer) -> None:
    """Each target is polled once: targets that are due again before the round ends do not prolong it."""
    handbook, *_ = dataset_configs(dify.api.world.scenario, documents=True)
    path = configure(
        server={"concurrency": 1},
        datasets=[DatasetConfig(handbook.id, handbook.batches[:1], handbook.documents)],
        polling=dict.fromkeys(("interval", "max_interval", "settled_interval", "max_settled_interval"), "1s"),
    )
    dify.latency = 1.5 / len(handbook.documents)
    done = exporter("once", "--config.file", path)

    assert 0 == done.code
    assert len(handbook.documents) == done.out.count("dify_document_enabled{")


def test_interruption(start: Start, configure: Configure, dify: SimulatorServer) -> None:
    """A signal ends the round: the results so far are printed, exit code 1."""
    dify.api.faults.add(Fault(kind="delay", seconds=60))
    program = start("once", "--config.file", configure(server={"timeout": "1m"}))
    until(lambda: dify.api.requests["indexing-status"])

    assert 1 == program.stop(signal.SIGINT)
    assert "dify_exporter_target_success" not in program.out
    assert "dify_exporter_build_info" in program.out
    assert KEY not in program.out + program.log
