"""``dify-exporter check``: polls everything once and reports problems and the load to expect."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from exporter.clock import SystemClock
from exporter.daemon import App
from exporter.dify import QUIRKS, NotFound, Unauthorized
from exporter.polling import BATCH_STATUS, DATASET_LIST, DATASET_SCAN, BatchFiles
from exporter.tracking import FINISHED

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Iterator

    from exporter.config import Config, Polling
    from exporter.daemon import Progress, ServerMonitor

UNKNOWN_VERSION = "version unknown"
UNKNOWN_PROBLEM = "failed for an unknown reason; `dify-exporter once` logs the details"

CAUSES_SHOWN = 5
"""Different reasons that the report names when nothing could be read."""

SCAN_BELOW = 3_600.0
"""A dataset with a longer interval is polled for its name only; its documents are not scanned."""

SCAN_REQUESTS = 3
"""One document list per unfinished status."""


def check_servers(
    config: Config, stop: threading.Event, *, on_progress: Callable[[Progress], None]
) -> tuple[bool, list[str]]:
    """Poll every target once. Returns whether all is well, and the lines of the report.

    ``stop``: end early; the report is then incomplete. ``on_progress`` is called repeatedly.
    """
    app = App(config)
    succeeded = app.poll_once(stop, on_progress=on_progress)
    report = [line for monitor in app.monitors for line in _report(monitor)]
    silent = [monitor.server.name for monitor in app.monitors if not _is_read(monitor)]
    idle = any(_nothing_to_watch(monitor) for monitor in app.monitors)
    if silent:
        report.append(f"series and requests cannot be estimated: nothing was read from {', '.join(silent)}")
    else:
        rate = sum(_requests_per_minute(monitor, app.config.polling) for monitor in app.monitors)
        report.append(f"expect {app.exposition.series()} series and {rate:.1f} requests per minute")
    return succeeded and not idle, report


def check_batch_files(config: Config) -> tuple[bool, list[str]]:
    """Read every batch file once. Returns whether all can be read, and the lines of the report.

    A pattern that matches nothing is reported, but may be right: files may come later.
    """
    succeeded, report = True, []
    for server in config.servers:
        files = BatchFiles(server.batch_files, clock=SystemClock())
        files.update()
        succeeded = succeeded and not files.problems
        report += [f"{server.name}: batch file {problem}" for problem in files.problems.values()]
        report += [f"warning: {server.name}: batch_files: {problem}" for problem in files.unmatched.values()]
        report += [f"warning: {server.name}: batch file {odd}" for odd in files.warnings]
    return succeeded, report


def _report(monitor: ServerMonitor) -> Iterator[str]:
    """The report on one server."""
    name, version = monitor.server.name, monitor.client.version
    yield f"{name}: {monitor.server.url}, Dify {version or UNKNOWN_VERSION}, API key {_key_verdict(monitor)}"
    for quirk in QUIRKS:
        if quirk.affects(version):
            yield f"{name}: this version {quirk.text}"
    if problem := _nothing_to_watch(monitor):
        yield f"{name}: nothing to watch: {problem}"
    elif _is_read(monitor):
        yield from _objects(monitor)
        yield from _outage(monitor) if monitor.health.unavailable else _unread_targets(monitor)
    else:
        yield f"{name}: 0 of {len(monitor.statuses.all())} targets polled successfully"
        yield from _outage(monitor)


def _is_read(monitor: ServerMonitor) -> bool:
    """Whether any target could be read, or was at least looked for."""
    targets = monitor.statuses.all()
    if not targets or any(status.success for status in targets.values()):
        return True
    return NotFound.reason in monitor.health.failure_reasons()


def _nothing_to_watch(monitor: ServerMonitor) -> str:
    """Why the server has no objects to poll; "" if it has some, or if the list of them cannot be read."""
    targets = monitor.statuses.all()
    if not targets:
        return "set discover to true, name datasets with batches, or list batches in batch_files"
    return monitor.poller.selection.problem if all(target.type is DATASET_LIST for target in targets) else ""


def _outage(monitor: ServerMonitor) -> Iterator[str]:
    """Why the server could not be read: each cause once, however many targets it concerns."""
    name, health = monitor.server.name, monitor.health
    unread = [target for target, status in monitor.statuses.all().items() if status.success is not True]
    failures = [health.failure(target) for target in unread]
    causes = Counter(failure.text for failure in failures if failure) or Counter([UNKNOWN_PROBLEM])
    first = causes.most_common(1)[0][0]
    causes[first] = len(unread) - (causes.total() - causes[first])  # with those that were not even requested any more
    for cause, count in causes.most_common(CAUSES_SHOWN):
        yield f"{name}: {cause}" + (f" ({count} targets)" if count > 1 else "")
    if len(causes) > CAUSES_SHOWN:
        yield f"{name}: and {len(causes) - CAUSES_SHOWN} other causes"


def _objects(monitor: ServerMonitor) -> Iterator[str]:
    """What was found on a server that answers."""
    name, targets, documents = monitor.server.name, monitor.statuses.all(), monitor.store.documents
    offset = monitor.store.offset.seconds
    if offset is None:
        yield f"{name}: clock offset unknown until a document makes progress (dify_exporter_clock_offset_seconds)"
    else:
        yield f"{name}: clock offset {offset:+.0f} s from this machine"
    datasets = len({target.dataset_id for target in targets if target.dataset_id})
    batches = sum(target.type is BATCH_STATUS for target in targets)
    unfinished = _unfinished(monitor)
    yield f"{name}: {datasets} datasets, {batches} batches, {len(documents)} documents ({unfinished} unfinished)"
    if problem := monitor.poller.selection.problem:
        yield f"{name}: nothing to discover: {problem}"
    succeeded = sum(status.success is True for status in targets.values())
    yield f"{name}: {succeeded} of {len(targets)} targets polled successfully"
    if failures := monitor.health.failures_of_details(documents):
        text = next((failure.text for failure in failures if failure), UNKNOWN_PROBLEM)
        yield f"{name}: {len(failures)} of {len(documents)} documents without details: {text}"


def _unread_targets(monitor: ServerMonitor) -> Iterator[str]:
    """A line for each target that could not be read."""
    name, health = monitor.server.name, monitor.health
    for target, status in monitor.statuses.all().items():
        if status.success is not True:
            text = health.problem(target) or UNKNOWN_PROBLEM
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
