"""Every alert as expected when it fires: labels and texts, word for word."""

from __future__ import annotations

from tests.deploy.scene import FIRST, HANDBOOK, Firing

URL = "http://api:5001/v1"
INSTANCE = {"instance": "exporter:9439", "server": ""}


def _about(dataset: str, dataset_id: str, **more: str) -> dict[str, str]:
    return {"dataset_id": dataset_id, "dataset": dataset, **more}


def indexing_stalled(idle: str, dataset: str = "Handbook", batch: str = FIRST) -> Firing:
    """A batch of the first knowledge base is stalled after a worker picked it up."""
    return Firing(
        "DifyIndexingStalled",
        "critical",
        f'Indexing of batch {batch} in knowledge base "{dataset}" is stalled',
        f'A worker of main picked up batch {batch} of knowledge base "{dataset}", but the batch has made no progress '
        f"for {idle}. Check the log of Dify's worker for these documents; if the worker hangs, restart it, then retry "
        "the documents.",
        _about(dataset, HANDBOOK, batch=batch),
    )


def indexing_queued(idle: str, dataset: str = "Handbook", batch: str = FIRST) -> Firing:
    """No worker picks up a batch of the first knowledge base."""
    return Firing(
        "DifyIndexingQueued",
        "critical",
        f'Batch {batch} in knowledge base "{dataset}" is queued and no worker picks it up',
        f'Batch {batch} of knowledge base "{dataset}" on main has been queued for {idle}. Check that Dify\'s worker is '
        'running, consumes the queue "dataset" and can reach its broker.',
        _about(dataset, HANDBOOK, batch=batch),
    )


def documents_stalled(count: int, names: str, dataset: str = "Handbook", dataset_id: str = HANDBOOK) -> Firing:
    """Documents of an unknown batch make no progress."""
    return Firing(
        "DifyDocumentsStalled",
        "critical",
        f'Indexing of {count} document(s) in knowledge base "{dataset}" is stalled',
        f'Unfinished documents of knowledge base "{dataset}" on main have made no progress for too long: {names}. '
        "Check that Dify's worker is running and read its log; if it hangs, restart it, then retry the documents.",
        _about(dataset, dataset_id),
    )


def documents_fell_back(count: int, names: str) -> Firing:
    """Completed documents returned to indexing and make no progress."""
    return Firing(
        "DifyDocumentsFellBack",
        "critical",
        f'{count} completed document(s) in knowledge base "Handbook" have fallen back to indexing',
        'Completed documents of knowledge base "Handbook" on main returned to status indexing with all segments done. '
        f"They make no progress, and retrieval does not find them: {names}. Was the embedding model changed? Check the "
        "worker's log, then index the documents again.",
        _about("Handbook", HANDBOOK),
    )


def documents_failed(count: int, reason: str, names: str) -> Firing:
    """Documents failed. ``names``: all documents in error now, for any reason."""
    return Firing(
        "DifyDocumentsFailed",
        "warning",
        f'{count} document(s) in knowledge base "Handbook" failed ({reason})',
        f'Within the last hour, {count} document(s) of knowledge base "Handbook" on main failed with reason {reason}. '
        f"Documents in error now: {names}. Read the error texts in Dify, fix the cause and retry the documents.",
        _about("Handbook", HANDBOOK, reason=reason),
    )


def failure_ratio_high(share: str, reasons: str) -> Firing:
    """A large share of the documents failed."""
    return Firing(
        "DifyFailureRatioHigh",
        "critical",
        f'Indexing fails for {share} of the documents in knowledge base "Handbook"',
        f'Of the documents of knowledge base "Handbook" on main that finished within the last hour, {share} failed: '
        f"{reasons}. Stop uploading, fix the cause (model provider, quota, plugin daemon, storage), then retry the "
        "documents.",
        _about("Handbook", HANDBOOK),
    )


def documents_empty(count: int, names: str) -> Firing:
    """Completed documents have no segments."""
    return Firing(
        "DifyDocumentsEmpty",
        "warning",
        f'{count} completed document(s) in knowledge base "Handbook" have no segments',
        'Completed documents of knowledge base "Handbook" on main have no segments, so retrieval finds nothing in them'
        f": {names}. Check whether the files contain text (scans do not); upload them again, or disable documents that "
        "are blank on purpose.",
        _about("Handbook", HANDBOOK),
    )


def documents_incomplete(count: int, names: str) -> Firing:
    """Completed documents have unindexed segments."""
    return Firing(
        "DifyDocumentsIncomplete",
        "warning",
        f'{count} completed document(s) in knowledge base "Handbook" have unindexed segments',
        'Not all segments of completed documents of knowledge base "Handbook" on main are indexed, so retrieval finds '
        f"only part of these documents: {names}. Check the worker's log for errors from the embedding model or the "
        "vector store, then index the documents again.",
        _about("Handbook", HANDBOOK),
    )


def documents_paused(count: int, names: str) -> Firing:
    """Documents were paused and not resumed."""
    return Firing(
        "DifyDocumentsPaused",
        "info",
        f'{count} document(s) in knowledge base "Handbook" have been paused for more than a day',
        'Documents of knowledge base "Handbook" on main were paused more than a day ago and are still not indexed: '
        f"{names}. Resume or delete them.",
        _about("Handbook", HANDBOOK),
    )


def indexing_slow(now: str, before: str) -> Firing:
    """Documents take much longer than before."""
    return Firing(
        "DifyIndexingSlow",
        "warning",
        'Indexing in knowledge base "Handbook" is much slower than before',
        f'Documents of knowledge base "Handbook" on main spent {now} in phase indexing on average in the last hour; '
        f"the average of the week before is {before}. Are the documents larger? If not, check the latency of the "
        "embedding model and the load on the worker and the vector store.",
        _about("Handbook", HANDBOOK, phase="indexing"),
    )


def series_limit_reached(count: int) -> Firing:
    """There are more documents than may have series."""
    return Firing(
        "DifySeriesLimitReached",
        "warning",
        f'{count} document(s) in knowledge base "Handbook" have no series',
        f'The exporter exposes at most limits.documents documents. {count} document(s) of knowledge base "Handbook" on '
        "main have no series: batch totals include them, alerts on single documents do not. Raise limits.documents and "
        "restart the exporter, or watch fewer batches.",
        _about("Handbook", HANDBOOK),
    )


def target_unreadable(
    targets: str, reasons: str, *, kind: str = "batch", dataset: str = "Handbook", dataset_id: str = HANDBOOK
) -> Firing:
    """Polls of one target fail while its server answers."""
    return Firing(
        "DifyTargetUnreadable",
        "warning",
        f'Polls fail for 1 target(s) of kind {kind} in knowledge base "{dataset}"',
        f'main answers, but polls fail for {targets} (kind {kind}, knowledge base "{dataset}"). Failed polls of this '
        f"kind on main within the last day: {reasons}. not_found: the object was deleted, remove it from the "
        "configuration; forbidden: enable API access for the knowledge base; any other reason: see the exporter's log.",
        _about(dataset, dataset_id, kind=kind),
    )


def server_unreachable(reasons: str) -> Firing:
    """A server does not answer."""
    return Firing(
        "DifyServerUnreachable",
        "critical",
        "Dify server main is unavailable",
        f"Requests to main ({URL}) have been failing for minutes, so the state of its indexing is unknown. Failed "
        f"polls within the last 15 minutes: {reasons}. Check Dify's API, its database and the network path to it.",
    )


def key_refused() -> Firing:
    """A server rejects the key."""
    return Firing(
        "DifyKeyRefused",
        "critical",
        "Dify server main rejects the API key",
        f"main ({URL}) answers 401, so the state of its indexing is unknown. Create a new key in Dify (Knowledge, "
        "Service API) and put it into the file or variable that the configuration names.",
    )


def polls_late(late: str) -> Firing:
    """More polls are due than the request budget allows."""
    return Firing(
        "DifyPollsLate",
        "warning",
        "Polls of Dify server main are late",
        f"The most overdue poll of main is {late} late, so stalls are detected that much later. Raise the server's "
        "requests_per_second or concurrency, or poll less: longer intervals, fewer targets.",
        {"instance": "exporter:9439"},
    )


def clock_offset(offset: str) -> Firing:
    """A server's timestamps are behind."""
    return Firing(
        "DifyClockOffset",
        "info",
        f"Timestamps of Dify server main are {offset} behind",
        f"The timestamps that main reports are {offset} behind the exporter's clock. Document ages are off by this "
        "amount; stalls and durations are not affected. If the offset is a whole number of hours, set TZ=UTC for "
        "Dify's API; otherwise synchronise the clocks.",
        {"instance": "exporter:9439"},
    )


def exporter_down() -> Firing:
    """The exporter does not answer scrapes."""
    return Firing(
        "DifyExporterDown",
        "critical",
        "dify-exporter exporter:9439 cannot be scraped",
        "Prometheus has been unable to scrape exporter:9439 (job dify-exporter) for 5 minutes. The state of Dify's "
        "indexing is unknown, and alerts about it resolve. See the Targets page of Prometheus for the error, and the "
        "exporter's log.",
        INSTANCE,
    )


def exporter_absent() -> Firing:
    """Prometheus has no target of an exporter."""
    return Firing(
        "DifyExporterAbsent",
        "critical",
        "Prometheus has no dify-exporter target",
        'Prometheus has no target whose job name contains "dify-exporter", so no alert about Dify\'s indexing can fire.'
        " Was the exporter removed, its job renamed, or a label of its Service changed?",
        {"job": "", "server": ""},
    )


def exporter_scrapes_failing(took: str) -> Firing:
    """Scrapes of the exporter fail intermittently."""
    return Firing(
        "DifyExporterScrapesFailing",
        "warning",
        "Scrapes of dify-exporter exporter:9439 fail intermittently",
        "exporter:9439 (job dify-exporter) went down and came back three times within half an hour. Either it restarts "
        f"repeatedly (memory limit, liveness probe), or scrapes time out: the last scrape took {took}.",
        INSTANCE,
    )


def config_reload_failed() -> Firing:
    """A configuration was rejected."""
    return Firing(
        "DifyConfigReloadFailed",
        "warning",
        "dify-exporter exporter:9439 could not load its configuration",
        "exporter:9439 rejected its changed configuration and keeps using the previous one. Its log, or dify-exporter "
        "check --config.file …, says what is wrong and where. Fix the configuration and reload it.",
        INSTANCE,
    )


def web_config_reload_failed() -> Firing:
    """A web config file was rejected."""
    return Firing(
        "DifyWebConfigReloadFailed",
        "warning",
        "dify-exporter exporter:9439 could not load its web config file",
        "exporter:9439 rejected its changed web config file, or a certificate or key that the file names, and keeps "
        "using the previous ones: a renewed certificate or a removed user is not in effect. Its log, or dify-exporter "
        "check --offline --web.config.file …, says what is wrong and where. Fixed files are loaded automatically.",
        INSTANCE,
    )


def certificate_expires(when: str) -> Firing:
    """The exporter's own certificate was not renewed. ``when``: what the alert says about its end."""
    return Firing(
        "DifyExporterCertificateExpires",
        "warning",
        "The TLS certificate of dify-exporter exporter:9439 was not renewed",
        f"The certificate in cert_file of the web config file of exporter:9439 {when}: then Prometheus can no longer "
        "scrape it. Renew the certificate; the exporter loads the new file within seconds, without a restart.",
        INSTANCE,
    )


def state_not_saved(since: str) -> Firing:
    """The state is not saved. ``since``: what the alert says about the last successful save."""
    return Firing(
        "DifyStateNotSaved",
        "warning",
        "dify-exporter exporter:9439 cannot save its state",
        f"exporter:9439 {since}. It keeps running, but a restart would reset stall detection. Is the disk full or "
        "read-only, or is the directory missing? Its log names the file and the remedy.",
        INSTANCE,
    )
