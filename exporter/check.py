"""``dify-exporter check``: polls everything once and reports problems and the load to expect."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from exporter.daemon import App
from exporter.dify import QUIRKS, DifyError, Unauthorized
from exporter.polling import BATCH_STATUS, DATASET_LIST, DATASET_SCAN
from exporter.tracking import FINISHED

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from exporter.config import Config, Polling
    from exporter.daemon import Progress, ServerMonitor
    from exporter.dify import Client

UNKNOWN_VERSION = "version unknown"
UNKNOWN_PROBLEM = "failed for an unknown reason; `dify-exporter once` logs the details"

SCAN_BELOW = 3_600.0
"""A dataset with a longer interval is polled for its name only; its documents are not scanned."""

SCAN_REQUESTS = 3
"""One document list per unfinished status."""


def check_servers(config: Config, *, on_progress: Callable[[Progress], None]) -> tuple[bool, list[str]]:
    """Poll every target once. Returns whether all is well, and the lines of the report.

    ``on_progress`` is called repeatedly.
    """
    app = App(config)
    with ThreadPoolExecutor(max_workers=max(1, len(app.monitors))) as pool:
        welcomes = list(pool.map(_welcome, [monitor.client for monitor in app.monitors]))
    succeeded = app.poll_once(threading.Event(), on_progress=on_progress)
    report = [
        line for monitor, welcome in zip(app.monitors, welcomes, strict=True) for line in _report(monitor, *welcome)
    ]
    rate = sum(_requests_per_minute(monitor, app.config.polling) for monitor in app.monitors)
    return succeeded, [*report, f"expect {app.exposition.series()} series and {rate:.1f} requests per minute"]


def _welcome(client: Client) -> tuple[str, str]:
    """Request the welcome page, which requires no key. Returns the server's version, and the error ("" if none)."""
    try:
        return client.welcome(), ""
    except DifyError as error:
        return "", str(error)


def _report(monitor: ServerMonitor, version: str, problem: str) -> Iterator[str]:
    """The report on one server. ``problem``: why its ``version`` could not be read without a key."""
    health, name = monitor.health, monitor.server.name
    version = version or monitor.client.version
    if problem:
        yield f"{name}: {problem}"
    yield f"{name}: {monitor.server.url}, Dify {version or UNKNOWN_VERSION}, API key {_key_verdict(monitor)}"
    for quirk in QUIRKS:
        if quirk.affects(version):
            yield f"{name}: this version {quirk.text}"
    offset = monitor.store.offset.seconds
    if offset is None:
        yield f"{name}: clock offset unknown until a document makes progress (dify_exporter_clock_offset_seconds)"
    else:
        yield f"{name}: clock offset {offset:+.0f} s from this machine"
    targets = monitor.statuses.all()
    documents = monitor.store.documents
    datasets = len({target.dataset_id for target in targets if target.dataset_id})
    batches = sum(target.type is BATCH_STATUS for target in targets)
    unfinished = _unfinished(monitor)
    yield f"{name}: {datasets} datasets, {batches} batches, {len(documents)} documents ({unfinished} unfinished)"
    succeeded = sum(status.success is True for status in targets.values())
    yield f"{name}: {succeeded} of {len(targets)} targets polled successfully"
    if failures := health.failures_of_details(documents):
        text = next((failure.text for failure in failures if failure), UNKNOWN_PROBLEM)
        yield f"{name}: {len(failures)} of {len(documents)} documents without details: {text}"
    for target, status in targets.items():
        if status.success is not True:
            refusal = health.refusal_of_dataset(target.dataset_id)
            text = health.problem(target) or (refusal.text if refusal else UNKNOWN_PROBLEM)
            requested = {DATASET_SCAN: "", DATASET_LIST: "list of datasets"}.get(
                target.type, f"{status.kind} {target.id}"
            )
            where = f"dataset {target.dataset_id}" if target.dataset_id else ""
            yield f"{name}: {' of '.join(filter(None, (requested, where)))}: {text}"


def _key_verdict(monitor: ServerMonitor) -> str:
    """Whether the key works, judged by all polls: the last request alone may have failed for another reason."""
    if monitor.health.status.up or any(status.success for status in monitor.statuses.all().values()):
        return "accepted"
    return "rejected" if Unauthorized.reason in monitor.health.failure_reasons() else "not verified"


def _unfinished(monitor: ServerMonitor) -> int:
    return sum(document.progress.status not in FINISHED for document in monitor.store.documents)


def _requests_per_minute(monitor: ServerMonitor, polling: Polling) -> float:
    """Requests per minute at the current intervals; settled targets slow down further. A scan takes three requests."""
    total = _unfinished(monitor) * 60 / polling.detail_interval
    for target, status in monitor.statuses.all().items():
        if status.interval:
            scanned = target.type is DATASET_SCAN and status.interval < SCAN_BELOW
            total += (SCAN_REQUESTS if scanned else 1) * 60 / status.interval
    return total
