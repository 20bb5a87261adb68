"""``dify-exporter check``: polls everything once and reports problems and the load to expect."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from exporter.daemon.app import App
from exporter.dify import QUIRKS, DifyError, Unauthorized
from exporter.polling import BATCH_STATUS, DATASET_LIST, DATASET_SCAN
from exporter.tracking import FINISHED

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from exporter.config import Config
    from exporter.daemon.monitor import ServerMonitor
    from exporter.dify import Client

UNKNOWN_VERSION = "version unknown"
UNKNOWN_PROBLEM = "failed for an unknown reason; `dify-exporter once` logs the details"

SCAN_BELOW = 3_600.0
"""A dataset with a longer interval is polled for its name only; its documents are not scanned."""

SCAN_REQUESTS = 3
"""One document list per unfinished status."""


def check_servers(
    config: Config, echo: Callable[[str], None], *, on_progress: Callable[[int, int], None] = lambda _done, _all: None
) -> bool:
    """Poll every target once and report through ``echo``, one line per call. False if anything is wrong.

    ``on_progress`` is called repeatedly with the number of targets polled so far and the total.
    """
    app = App(config)
    with ThreadPoolExecutor(max_workers=max(1, len(app.monitors))) as pool:
        greetings = list(pool.map(_greet, [monitor.client for monitor in app.monitors]))
    well = app.poll_once(threading.Event(), on_progress=on_progress)
    for monitor, (version, problem) in zip(app.monitors, greetings, strict=True):
        for line in _report(monitor, version, problem):
            echo(line)
    echo(f"expect {app.exposition.series()} series and {_requests_per_minute(app):.1f} requests per minute")
    return well


def _greet(client: Client) -> tuple[str, str]:
    """Request the welcome page, which requires no key. Returns the server's version, and the error ("" if none)."""
    try:
        return client.welcome(), ""
    except DifyError as error:
        return "", str(error)


def _report(monitor: ServerMonitor, version: str, problem: str) -> Iterator[str]:
    """The report on one server. ``problem``: why its ``version`` could not be read without a key."""
    status, health = monitor.poller.health.status, monitor.poller.health
    version = version or monitor.client.version
    name = status.server
    if problem:
        yield f"{name}: {problem}"
    yield f"{name}: {status.url}, Dify {version or UNKNOWN_VERSION}, API key {_judge_key(monitor)}"
    for quirk in QUIRKS:
        if quirk.affects(version):
            yield f"{name}: this version {quirk.text}"
    offset = monitor.store.offset.seconds
    if offset is None:
        yield f"{name}: clock offset unknown until a document makes progress (dify_exporter_clock_offset_seconds)"
    else:
        yield f"{name}: clock offset {offset:+.0f} s from this machine"
    targets = monitor.poller.statuses.all()
    documents = monitor.store.documents
    unfinished = sum(document.progress.status not in FINISHED for document in documents)
    datasets = len({target.dataset_id for target in targets if target.dataset_id})
    batches = sum(target.type is BATCH_STATUS for target in targets)
    yield f"{name}: {datasets} datasets, {batches} batches, {len(documents)} documents ({unfinished} unfinished)"
    succeeded = sum(polls.success is True for polls in targets.values())
    yield f"{name}: {succeeded} of {len(targets)} targets polled successfully"
    if failures := health.failures_of_details(documents):
        text = next((failure.text for failure in failures if failure), UNKNOWN_PROBLEM)
        yield f"{name}: {len(failures)} of {len(documents)} documents without details: {text}"
    for target, polls in targets.items():
        if polls.success is not True:
            refusal = health.refusal_of_dataset(target.dataset_id)
            text = health.problem(target) or (refusal.text if refusal else UNKNOWN_PROBLEM)
            what = {DATASET_SCAN: "", DATASET_LIST: "list of datasets"}.get(target.type, f"{polls.kind} {target.id}")
            where = f"dataset {target.dataset_id}" if target.dataset_id else ""
            yield f"{name}: {' of '.join(filter(None, (what, where)))}: {text}"


def _judge_key(monitor: ServerMonitor) -> str:
    """Whether the key works, judged by all polls: the last request alone may have failed for another reason."""
    health, statuses = monitor.poller.health, monitor.poller.statuses.all().values()
    if health.status.up or any(status.success for status in statuses):
        return "accepted"
    return "rejected" if Unauthorized.reason in health.failure_reasons() else "not verified"


def _requests_per_minute(app: App) -> float:
    """Requests per minute at the current intervals; settled targets slow down further. A scan takes three requests."""
    total = 0.0
    for monitor in app.monitors:
        for target, status in monitor.poller.statuses.all().items():
            if status.interval:
                scanned = target.type is DATASET_SCAN and status.interval < SCAN_BELOW
                total += (SCAN_REQUESTS if scanned else 1) * 60 / status.interval
        documents = monitor.store.documents
        unfinished = sum(document.progress.status not in FINISHED for document in documents)
        total += unfinished * 60 / app.config.polling.detail_interval
    return total
