"""``dify-exporter check``: polls everything once and reports problems and the load to expect."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, NamedTuple

from exporter.daemon.app import App
from exporter.dify import DifyError, Unauthorized
from exporter.tracking import FINISHED, Target

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from exporter.config import Config
    from exporter.daemon.monitor import ServerMonitor
    from exporter.dify import Client

UNKNOWN_VERSION = "version unknown"
UNKNOWN_PROBLEM = "failed for an unknown reason; `dify-exporter once` logs the details"

SURVEY_BELOW = 3_600.0
"""A dataset with a longer interval is polled for its name only; its documents are not scanned."""

SURVEY_REQUESTS = 3
"""One document list per unfinished status."""

_Version = tuple[int, ...]


class _Quirk(NamedTuple):
    """A deviation of server versions ``since`` <= version < ``until``."""

    since: _Version
    until: _Version
    text: str


_QUIRKS = (
    _Quirk((), (1, 5, 1), "has no document details: names, sizes and rules of documents have no series"),
    _Quirk((), (1, 2), "does not return names of single knowledge bases: only discovery of all of them finds names"),
    _Quirk((), (1, 10, 1), "cannot filter documents by status: discovery scans the newest 200 of each knowledge base"),
    _Quirk(
        (1, 9),
        (1, 12, 2),
        "looks up the dataset before the key: with a wrong dataset id a wrong key shows as not found",
    ),
)


def check_servers(
    config: Config, echo: Callable[[str], None], *, on_progress: Callable[[int, int], None] = lambda _done, _all: None
) -> bool:
    """Poll every target once and report through ``echo``, one line per call. False if anything is wrong.

    ``on_progress`` is called repeatedly with the number of targets polled so far and the total.
    """
    app = App(config)
    with ThreadPoolExecutor(max_workers=max(1, len(app.served))) as pool:
        greetings = list(pool.map(_greet, [served.client for served in app.served]))
    well = app.poll_once(threading.Event(), on_progress=on_progress)
    for served, (version, problem) in zip(app.served, greetings, strict=True):
        for line in _report(served, version, problem):
            echo(line)
    echo(f"expect {app.exposition.series()} series and {_requests_a_minute(app):.1f} requests per minute")
    return well


def _greet(client: Client) -> tuple[str, str]:
    """Request the welcome page, which requires no key. Returns the server's version, and the error ("" if none)."""
    try:
        return client.welcome(), ""
    except DifyError as error:
        return "", str(error)


def _report(served: ServerMonitor, version: str, problem: str) -> Iterator[str]:
    """The report on one server. ``problem``: why its ``version`` could not be read without a key."""
    status, store = served.poller.statuses.status, served.poller.store
    version = version or served.client.version
    name = status.server
    if problem:
        yield f"{name}: {problem}"
    yield f"{name}: {status.url}, Dify {version or UNKNOWN_VERSION}, API key {_judge_key(served)}"
    for quirk in _quirks(version):
        yield f"{name}: this version {quirk}"
    offset = store.offset.seconds
    if offset is None:
        yield f"{name}: clock offset unknown until a document makes progress (dify_exporter_clock_offset_seconds)"
    else:
        yield f"{name}: clock offset {offset:+.0f} s from this machine"
    targets = served.poller.statuses.targets
    documents = store.documents
    unfinished = sum(document.progress.status not in FINISHED for document in documents)
    datasets = len({target.dataset_id for target in targets if target.dataset_id})
    batches = sum(target.kind == "batch" for target in targets)
    yield f"{name}: {datasets} datasets, {batches} batches, {len(documents)} documents ({unfinished} unfinished)"
    yield f"{name}: {sum(target.success is True for target in targets)} of {len(targets)} targets polled successfully"
    if lacking := served.poller.problems.without_detail(documents):
        text = next((problem.text for problem in lacking if problem), UNKNOWN_PROBLEM)
        yield f"{name}: {len(lacking)} of {len(documents)} documents without details: {text}"
    for target in targets:
        if target.success is not True:
            refused = served.poller.problems.of_dataset(target.dataset_id)
            problem = served.poller.problem(Target(target.kind, target.dataset_id, target.target))
            problem = problem or (refused.text if refused else UNKNOWN_PROBLEM)
            what = {"dataset": "", "datasets": "list of datasets"}.get(target.kind, f"{target.kind} {target.target}")
            where = f"dataset {target.dataset_id}" if target.dataset_id else ""
            yield f"{name}: {' of '.join(filter(None, (what, where)))}: {problem}"


def _judge_key(served: ServerMonitor) -> str:
    """Whether the key works, judged by all polls: the last request alone may have failed for another reason."""
    if served.poller.statuses.status.up or any(target.success for target in served.poller.statuses.targets):
        return "accepted"
    refused = Unauthorized.reason in served.poller.problems.reasons()
    return "rejected" if refused else "not verified"


def _quirks(version: str) -> list[str]:
    """How a server of that version deviates."""
    numbers = tuple(int(part) for part in version.split(".")[:3] if part.isdecimal())
    return [quirk.text for quirk in _QUIRKS if numbers and quirk.since <= numbers < quirk.until]


def _requests_a_minute(app: App) -> float:
    """Requests per minute at the current intervals; settled targets slow down further. A scan takes three requests."""
    total = 0.0
    for served in app.served:
        for target in served.poller.statuses.targets:
            if target.interval:
                surveyed = target.kind == "dataset" and target.interval < SURVEY_BELOW
                total += (SURVEY_REQUESTS if surveyed else 1) * 60 / target.interval
        documents = served.poller.store.documents
        unfinished = sum(document.progress.status not in FINISHED for document in documents)
        total += unfinished * 60 / app.config.polling.detail_interval
    return total
