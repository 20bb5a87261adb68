"""``dify-exporter check``: asks for everything once, tells a person what is wrong and what to expect."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from exporter.app import App
from exporter.dify import DifyError
from exporter.tracking import FINISHED, Target

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from exporter.app import Served
    from exporter.config import Config
    from exporter.dify import Client
    from exporter.tracking import TargetStatus

UNKNOWN_VERSION = "of an unknown version"
UNKNOWN_PROBLEM = "failed for no reason that is known; `dify-exporter once` logs more"


def check_servers(config: Config, echo: Callable[[str], None]) -> bool:
    """Ask for every target once and report through ``echo``, a line at a time. False when anything is wrong."""
    app = App(config)
    greetings = [_greet(served.client) for served in app.served]
    well = app.poll_once(threading.Event())
    for served, (version, problem) in zip(app.served, greetings, strict=True):
        for line in _report(served, version, problem):
            echo(line)
    echo(f"expect {app.exposition.series()} series and {_requests_a_minute(app):.1f} requests a minute")
    return well


def _greet(client: Client) -> tuple[str, str]:
    """Ask for what needs no key: the server's version, and why it is not known ("" when it is)."""
    try:
        return client.welcome(), ""
    except DifyError as error:
        return "", str(error)


def _report(served: Served, version: str, problem: str) -> Iterator[str]:
    """What is to be said of one server. ``problem``: why it did not tell its ``version`` without a key."""
    store = served.poller.store
    status = served.poller.roster.status
    version = version or served.client.version or UNKNOWN_VERSION
    if problem:
        yield f"{status.server}: {problem}"
    targets = served.poller.roster.targets
    read = sum(target.success is True for target in targets)
    documents = store.documents
    unfinished = sum(document.progress.status not in FINISHED for document in documents)
    accepted = "is accepted" if status.up else "is not accepted or could not be tried"
    yield f"{status.server}: {status.url}, Dify {version}; the key {accepted}"
    yield f"{status.server}: {read} of {len(targets)} targets read, {len(documents)} documents, {unfinished} unfinished"
    for target in targets:
        if target.success is not True:
            problem = served.poller.problem(Target(target.kind, target.dataset_id, target.target)) or UNKNOWN_PROBLEM
            yield f"{status.server}: {_name(target)}: {problem}"


def _name(target: TargetStatus) -> str:
    match target.kind:
        case "datasets":
            return "the list of knowledge bases"
        case "dataset":
            return f"dataset {target.dataset_id}"
        case kind:
            return f"{kind} {target.target} of dataset {target.dataset_id}"


def _requests_a_minute(app: App) -> float:
    """At the pace of now; settled targets become slower still."""
    stores = [served.poller.store for served in app.served]
    own = sum(
        60 / target.interval for served in app.served for target in served.poller.roster.targets if target.interval
    )
    unfinished = sum(document.progress.status not in FINISHED for store in stores for document in store.documents)
    return own + unfinished * 60 / app.config.polling.detail_interval
