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

UNKNOWN_VERSION = "of an unknown version"


def check_servers(config: Config, echo: Callable[[str], None]) -> bool:
    """Ask for every target once and report through ``echo``, a line at a time. False when anything is wrong."""
    app = App(config)
    well = app.poll_once(threading.Event())
    for served in app.served:
        for line in _report(served):
            echo(line)
    echo(f"expect {app.exposition.series()} series and {_requests_a_minute(app):.1f} requests a minute")
    return well


def _report(served: Served) -> Iterator[str]:
    """What is to be said of one server."""
    store = served.poller.store
    status = store.status
    try:
        version = served.client.welcome() or UNKNOWN_VERSION
    except DifyError as error:
        version = status.version or UNKNOWN_VERSION
        if not status.version:
            yield f"{status.server}: {error}"
    targets = store.targets
    read = sum(target.success is True for target in targets)
    documents = store.documents
    unfinished = sum(document.progress.status not in FINISHED for document in documents)
    accepted = "is accepted" if status.up else "is not accepted or could not be tried"
    yield f"{status.server}: {status.url}, Dify {version}; the key {accepted}"
    yield f"{status.server}: {read} of {len(targets)} targets read, {len(documents)} documents, {unfinished} unfinished"
    for target in targets:
        if target.success is not True:
            problem = served.poller.problem(Target(target.kind, target.dataset_id, target.target))
            yield f"{status.server}: {target.kind} {target.target} of dataset {target.dataset_id}: {problem}"


def _requests_a_minute(app: App) -> float:
    """At the pace of now; settled targets become slower still."""
    stores = [served.poller.store for served in app.served]
    own = sum(60 / target.interval for store in stores for target in store.targets if target.interval)
    unfinished = sum(document.progress.status not in FINISHED for store in stores for document in store.documents)
    return own + unfinished * 60 / app.config.polling.detail_interval
