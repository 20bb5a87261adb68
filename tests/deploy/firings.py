"""Every alert as it is to fire: its labels and texts, word for word."""

from __future__ import annotations

from tests.deploy.scene import FIRST, HANDBOOK, Firing

URL = "http://api:5001/v1"
INSTANCE = {"instance": "exporter:9439", "server": ""}


def _about(dataset: str, dataset_id: str, **more: str) -> dict[str, str]:
    return {"dataset_id": dataset_id, "dataset": dataset, **more}


def indexing_stalled(idle: str, dataset: str = "Handbook", batch: str = FIRST) -> Firing:
    """A worker has taken up a batch of the first knowledge base, and nothing moves."""
    return Firing(
        "DifyIndexingStalled",
        "critical",
        f'Indexing of batch {batch} in knowledge base "{dataset}" is stalled',
        f'A worker of main has taken up batch {batch} of knowledge base "{dataset}", and nothing of it has moved for '
        f"{idle}. Look into the log of Dify's worker for these documents; restart the worker when it hangs, then retry "
        "them.",
        _about(dataset, HANDBOOK, batch=batch),
    )


def indexing_queued(idle: str, dataset: str = "Handbook", batch: str = FIRST) -> Firing:
    """No worker takes up a batch of the first knowledge base."""
    return Firing(
        "DifyIndexingQueued",
        "critical",
        f'Batch {batch} in knowledge base "{dataset}" waits and no worker takes it up',
        f'Batch {batch} of knowledge base "{dataset}" on main has been waiting for {idle}. Check that Dify\'s worker '
        'runs, listens to the queue "dataset" and reaches its broker.',
        _about(dataset, HANDBOOK, batch=batch),
    )


def documents_stalled(count: int, names: str, dataset: str = "Handbook", dataset_id: str = HANDBOOK) -> Firing:
    """Documents whose batch is not known do not move."""
    return Firing(
        "DifyDocumentsStalled",
        "critical",
        f'Indexing of {count} document(s) in knowledge base "{dataset}" is stalled',
        f'Unfinished documents of knowledge base "{dataset}" on main have not moved for too long: {names}. Check that '
        "Dify's worker runs and look into its log; restart it when it hangs, then retry the documents.",
        _about(dataset, dataset_id),
    )


def documents_fell_back(count: int, names: str) -> Firing:
    """Completed documents are in indexing again and do not move."""
    return Firing(
        "DifyDocumentsFellBack",
        "critical",
        f'{count} completed document(s) in knowledge base "Handbook" have fallen back to indexing',
        'Documents of knowledge base "Handbook" on main were completed, are in indexing again with all segments done, '
        f"do not move, and retrieval does not find them: {names}. Was the embedding model changed? Look into the "
        "worker's log, then index them again.",
        _about("Handbook", HANDBOOK),
    )


def documents_failed(count: int, reason: str, names: str) -> Firing:
    """Documents ended in error. ``names``: those that are in error now, for whatever reason."""
    return Firing(
        "DifyDocumentsFailed",
        "warning",
        f'{count} document(s) in knowledge base "Handbook" failed ({reason})',
        f'Within the last hour {count} document(s) of knowledge base "Handbook" on main ended in error for the reason '
        f"{reason}. In error now: {names}. Read their error texts in Dify, mend the cause, retry them.",
        _about("Handbook", HANDBOOK, reason=reason),
    )


def failure_ratio_high(share: str, reasons: str) -> Firing:
    """A large share of documents ended in error."""
    return Firing(
        "DifyFailureRatioHigh",
        "critical",
        f'{share} of the documents in knowledge base "Handbook" fail',
        f'Of the documents of knowledge base "Handbook" on main that ended within the last hour {share} ended in error'
        f": {reasons}. Stop uploading, mend the cause (model provider, quota, plugin daemon, storage), then retry.",
        _about("Handbook", HANDBOOK),
    )


def documents_empty(count: int, names: str) -> Firing:
    """Documents are completed without segments."""
    return Firing(
        "DifyDocumentsEmpty",
        "warning",
        f'{count} document(s) in knowledge base "Handbook" are completed and have no segments',
        'Retrieval finds nothing of documents of knowledge base "Handbook" on main that are completed without a '
        f"segment: {names}. Look whether the files hold text (scans do not); upload them anew, or disable them when "
        "they are blank on purpose.",
        _about("Handbook", HANDBOOK),
    )


def documents_incomplete(count: int, names: str) -> Firing:
    """Documents are completed with segments missing."""
    return Firing(
        "DifyDocumentsIncomplete",
        "warning",
        f'{count} document(s) in knowledge base "Handbook" are completed with segments missing',
        'Retrieval finds only a part of documents of knowledge base "Handbook" on main that are completed with fewer '
        f"segments done than there are: {names}. Look into the worker's log for errors of the embedding model or the "
        "vector store, then index them again.",
        _about("Handbook", HANDBOOK),
    )


def documents_paused(count: int, names: str) -> Firing:
    """Documents were paused and forgotten."""
    return Firing(
        "DifyDocumentsPaused",
        "info",
        f'{count} document(s) in knowledge base "Handbook" have been paused for a day',
        'Somebody paused documents of knowledge base "Handbook" on main more than a day ago, and they are still not '
        f"indexed: {names}. Resume them, or delete them.",
        _about("Handbook", HANDBOOK),
    )


def indexing_slow(now: str, before: str) -> Firing:
    """Documents take much longer than before."""
    return Firing(
        "DifyIndexingSlow",
        "warning",
        'Indexing in knowledge base "Handbook" is much slower than it was',
        f'A document of knowledge base "Handbook" on main took {now} for indexing on average within the last hour; in '
        f"the week before it took {before}. Are the documents larger? If not, look at the latency of the embedding "
        "model and the load of worker and vector store.",
        _about("Handbook", HANDBOOK, phase="indexing"),
    )


def series_limit_reached(count: int) -> Firing:
    """More documents than may have series."""
    return Firing(
        "DifySeriesLimitReached",
        "warning",
        f'{count} document(s) in knowledge base "Handbook" have no series',
        f'The exporter shows limits.documents documents and no more. {count} of knowledge base "Handbook" on main have '
        "no series: sums of batches have them, alerts on single documents do not see them. Raise limits.documents and "
        "restart the exporter, or watch fewer batches.",
        _about("Handbook", HANDBOOK),
    )


def target_unreadable(
    targets: str, reasons: str, *, kind: str = "batch", dataset: str = "Handbook", dataset_id: str = HANDBOOK
) -> Firing:
    """One target cannot be read while its server answers."""
    return Firing(
        "DifyTargetUnreadable",
        "warning",
        f'1 target(s) of kind {kind} in knowledge base "{dataset}" cannot be read',
        f'main answers, but not for {targets} (kind {kind}, knowledge base "{dataset}"). Failed polls of this kind on '
        f"main within the last day: {reasons}. not_found: it was deleted, take it out of the configuration; forbidden: "
        "switch the API access of the knowledge base on; else see the exporter's log.",
        _about(dataset, dataset_id, kind=kind),
    )


def server_unreachable(reasons: str) -> Firing:
    """A server does not answer."""
    return Firing(
        "DifyServerUnreachable",
        "critical",
        "Dify server main does not answer",
        f"No request to main ({URL}) was answered for minutes, so that nothing is known of its indexing. Requests that "
        f"failed within the last 15 minutes: {reasons}. Check Dify's API, its database and the way to it.",
    )


def key_refused() -> Firing:
    """A server refuses the key."""
    return Firing(
        "DifyKeyRefused",
        "critical",
        "Dify server main refuses the API key",
        f"main ({URL}) answers 401, so that nothing is known of its indexing. Make a new key in Dify (Knowledge, "
        "Service API) and put it into the file or variable that the configuration names.",
    )


def polls_late(late: str) -> Firing:
    """There is more to poll than the budget allows."""
    return Firing(
        "DifyPollsLate",
        "warning",
        "Polls of Dify server main are late",
        f"The most overdue poll of main is {late} late: stalls show that much later. Raise requests_per_second or "
        "concurrency of the server, or poll less: longer intervals, fewer targets.",
        {"instance": "exporter:9439"},
    )


def clock_offset(offset: str) -> Firing:
    """A server's times are behind."""
    return Firing(
        "DifyClockOffset",
        "info",
        f"Times of Dify server main are {offset} behind",
        f"The times that main gives are {offset} behind the exporter's clock. Ages of documents are wrong by that, "
        "stalls and durations are not. Whole hours: set TZ=UTC for Dify's API. Else: synchronise the clocks.",
        {"instance": "exporter:9439"},
    )


def exporter_down() -> Firing:
    """The exporter does not answer scrapes."""
    return Firing(
        "DifyExporterDown",
        "critical",
        "dify-exporter exporter:9439 cannot be scraped",
        "Prometheus has not been able to scrape exporter:9439 (job dify-exporter) for 5 minutes. Nothing is known of "
        "Dify's indexing, and alerts about it end. See the Targets page of Prometheus for the error, and the "
        "exporter's log.",
        INSTANCE,
    )


def exporter_absent() -> Firing:
    """Prometheus knows no exporter."""
    return Firing(
        "DifyExporterAbsent",
        "critical",
        "Prometheus has no dify-exporter to scrape",
        'Prometheus has no target whose job has "dify-exporter" in its name, so that no alert about Dify\'s indexing '
        "can fire. Was the exporter removed, the job renamed, or a label of its service changed?",
        {"job": "", "server": ""},
    )


def exporter_scrapes_failing(took: str) -> Firing:
    """The exporter comes and goes."""
    return Firing(
        "DifyExporterScrapesFailing",
        "warning",
        "Scrapes of dify-exporter exporter:9439 fail now and then",
        "exporter:9439 (job dify-exporter) went away and came back three times within half an hour. It is restarted "
        f"again and again (memory limit, liveness probe), or scrapes time out: the last one took {took}.",
        INSTANCE,
    )


def config_reload_failed() -> Firing:
    """A configuration was refused."""
    return Firing(
        "DifyConfigReloadFailed",
        "warning",
        "dify-exporter exporter:9439 could not load its configuration",
        "exporter:9439 refused its changed configuration and goes on with the one before. The line of its log says "
        "what is wrong and where; dify-exporter check --config.file … says it too. Mend it and reload.",
        INSTANCE,
    )


def web_config_reload_failed() -> Firing:
    """A web config file was refused."""
    return Firing(
        "DifyWebConfigReloadFailed",
        "warning",
        "dify-exporter exporter:9439 could not load its web config file",
        "exporter:9439 refused its changed web config file, or a certificate or key that the file names, and goes on "
        "with those before: a renewed certificate or a withdrawn user is not in force. Its log says what is wrong and "
        "where; dify-exporter check --offline --web.config.file … says it too. Once mended it is taken over by itself.",
        INSTANCE,
    )


def state_not_saved(since: str) -> Firing:
    """The state is not saved. ``since``: what is said of the last time that it was."""
    return Firing(
        "DifyStateNotSaved",
        "warning",
        "dify-exporter exporter:9439 cannot save its state",
        f"exporter:9439 {since}. It goes on, but after a restart the clocks of stalls begin anew. Is the disk full or "
        "read-only, or the folder not there? Its log names the file and the remedy.",
        INSTANCE,
    )
