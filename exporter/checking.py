"""``dify-exporter check``: asks for everything once, tells a person what is wrong and what to expect."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, NamedTuple

from exporter.app import App
from exporter.dify import DifyError, Unauthorized
from exporter.tracking import FINISHED, Target

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from exporter.config import Config
    from exporter.dify import Client
    from exporter.served import Served

UNKNOWN_VERSION = "of an unknown version"
UNKNOWN_PROBLEM = "failed for no reason that is known; `dify-exporter once` logs more"

SURVEY_BELOW = 3_600.0
"""A dataset that is polled less often is only asked for its name."""

SURVEY_REQUESTS = 3
"""One list for each state in which documents are unfinished."""

_Version = tuple[int, ...]


class _Quirk(NamedTuple):
    """What servers of some versions do: from ``since`` to before ``until``."""

    since: _Version
    until: _Version
    text: str


_QUIRKS = (
    _Quirk((), (1, 5, 1), "has no document details: names, sizes and rules of documents have no series"),
    _Quirk((), (1, 2), "does not tell the names of single knowledge bases: only discovery of all of them finds names"),
    _Quirk(
        (), (1, 10, 1), "cannot filter documents by state: discovery searches the newest 200 of each knowledge base"
    ),
    _Quirk(
        (1, 9), (1, 12, 2), "looks a dataset up before the key: with a wrong dataset id a wrong key shows as not found"
    ),
)


def check_servers(
    config: Config, echo: Callable[[str], None], *, on_progress: Callable[[int, int], None] = lambda _done, _all: None
) -> bool:
    """Ask for every target once and report through ``echo``, a line at a time. False when anything is wrong.

    ``on_progress`` is called meanwhile with how many targets were polled and how many there are.
    """
    app = App(config)
    with ThreadPoolExecutor(max_workers=max(1, len(app.served))) as pool:
        greetings = list(pool.map(_greet, [served.client for served in app.served]))
    well = app.poll_once(threading.Event(), on_progress=on_progress)
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
    status, store = served.poller.roster.status, served.poller.store
    version = version or served.client.version
    name = status.server
    if problem:
        yield f"{name}: {problem}"
    yield f"{name}: {status.url}, Dify {version or UNKNOWN_VERSION}; the key {_judge_key(served)}"
    for quirk in _quirks(version):
        yield f"{name}: this version {quirk}"
    offset = store.offset.seconds
    if offset is None:
        yield f"{name}: how far its clock is off shows once a document moves (dify_exporter_clock_offset_seconds)"
    else:
        yield f"{name}: its times are {offset:+.0f} s from this machine's"
    targets = served.poller.roster.targets
    documents = store.documents
    unfinished = sum(document.progress.status not in FINISHED for document in documents)
    datasets = len({target.dataset_id for target in targets if target.dataset_id})
    batches = sum(target.kind == "batch" for target in targets)
    yield f"{name}: {datasets} datasets, {batches} batches, {len(documents)} documents, {unfinished} of them unfinished"
    yield f"{name}: {sum(target.success is True for target in targets)} of {len(targets)} targets read"
    if lacking := served.poller.problems.without_detail(documents):
        text = next((problem.text for problem in lacking if problem), UNKNOWN_PROBLEM)
        yield f"{name}: {len(lacking)} of {len(documents)} documents without their details: {text}"
    for target in targets:
        if target.success is not True:
            refused = served.poller.problems.of_dataset(target.dataset_id)
            problem = served.poller.problem(Target(target.kind, target.dataset_id, target.target))
            problem = problem or (refused.text if refused else UNKNOWN_PROBLEM)
            what = {"dataset": "", "datasets": "list of datasets"}.get(target.kind, f"{target.kind} {target.target}")
            where = f"dataset {target.dataset_id}" if target.dataset_id else ""
            yield f"{name}: {' of '.join(filter(None, (what, where)))}: {problem}"


def _judge_key(served: Served) -> str:
    """What is known of the key: the last request alone would not tell, as anything may be wrong with that."""
    if served.poller.roster.status.up or any(target.success for target in served.poller.roster.targets):
        return "is accepted"
    refused = Unauthorized.reason in served.poller.problems.reasons()
    return "is not accepted" if refused else "could not be tried"


def _quirks(version: str) -> list[str]:
    """What a server of that version does otherwise."""
    numbers = tuple(int(part) for part in version.split(".")[:3] if part.isdecimal())
    return [quirk.text for quirk in _QUIRKS if numbers and quirk.since <= numbers < quirk.until]


def _requests_a_minute(app: App) -> float:
    """At the pace of now; settled targets become slower still. A survey of a knowledge base is three requests."""
    total = 0.0
    for served in app.served:
        for target in served.poller.roster.targets:
            if target.interval:
                surveyed = target.kind == "dataset" and target.interval < SURVEY_BELOW
                total += (SURVEY_REQUESTS if surveyed else 1) * 60 / target.interval
        documents = served.poller.store.documents
        unfinished = sum(document.progress.status not in FINISHED for document in documents)
        total += unfinished * 60 / app.config.polling.detail_interval
    return total
