"""PromQL that several panels share, with the variables of the dashboards."""

from __future__ import annotations

from exporter.tracking import STATUSES

SERVERS = 'job=~"$job",server=~"$server"'
DATASETS = f'{SERVERS},dataset_id=~"$dataset"'
BATCH = f'{DATASETS},batch=~"$batch"'
DOCUMENT = f'{DATASETS},document_id="$document"'

OF_DATASET = "job, instance, server, dataset_id"
OF_BATCH = f"{OF_DATASET}, batch"
OF_DOCUMENT = f"{OF_DATASET}, document_id"
"""Labels to join on. With ``instance``, a second exporter on the same server never makes a join ambiguous."""


def total(expression: str, by: str = "") -> str:
    """The sum of ``expression``, or one sum per value of the label ``by``.

    Values that several exporters report for the same server count once, as in the rules. For counters, pass the rate or
    the increase: the exporters started counting at different times.
    """
    return f"sum {f'by ({by}) ' if by else ''}(max without (instance, pod) ({expression}))"


def with_dataset(expression: str) -> str:
    """``expression`` with the name of the knowledge base in the label ``dataset``.

    Where the name is unknown, the id replaces it, so that no series disappears for lack of a name.
    """
    return (
        f"({expression}) * on ({OF_DATASET}) group_left (dataset) ("
        f'label_replace(dify_dataset_info{{{DATASETS}}}, "dataset", "$1", "name", "(?s)(.+)") '
        f"or on ({OF_DATASET}) "
        f'label_replace(dify_documents_restarted_total{{{DATASETS}}} >= bool 0, "dataset", "$1", "dataset_id", "(.+)"))'
    )


def with_document(expression: str, selector: str = DATASETS, *more: str) -> str:
    """``expression`` with the document name (or its id if labels.document_name is off) in the label ``document``.

    ``more``: further labels to copy from ``dify_document_info``.
    """
    taken = ", ".join(("document", *more))
    return (
        f"({expression}) * on ({OF_DOCUMENT}) group_left ({taken}) "
        f'label_replace(label_replace(dify_document_info{{{selector}}}, "document", "$1", "document_id", "(.+)"), '
        f'"document", "$1", "name", "(?s)(.+)")'
    )


def with_status(expression: str, selector: str = DATASETS) -> str:
    """``expression`` with the document's indexing status in the label ``status``."""
    return f"({expression}) * on ({OF_DOCUMENT}) group_left (status) (dify_document_indexing_status{{{selector}}} == 1)"


def status_number(selector: str) -> str:
    """Each document's indexing status as its position in ``STATUSES``, counted from 1."""
    return " or ".join(
        f'(dify_document_indexing_status{{{selector},status="{status}"}} == 1) * {number}'
        for number, status in enumerate(STATUSES, 1)
    )


def unfinished_documents(selector: str = DATASETS) -> str:
    """One series per document that is neither finished nor paused."""
    return f'dify_document_indexing_status{{{selector},status!~"completed|error|paused"}} == 1'


def unfinished_batches(selector: str = DATASETS) -> str:
    """The number of unfinished documents of each batch that has any."""
    return f'sum by ({OF_BATCH}) (dify_batch_documents{{{selector},status!~"completed|error"}}) > 0'


def batch_progress(selector: str = DATASETS) -> str:
    """Progress of each batch, 0 to 1: the mean over its documents, where a finished document counts 1.

    The share of segments would be wrong: it is 1 while only completed documents have been split. The number of finished
    documents comes from the batch, because ``limits.documents`` may withhold the series of single documents, finished
    ones first. An unfinished document without series counts as 0.
    """
    documents = f"sum by ({OF_BATCH}) (dify_batch_documents{{{selector}}})"
    finished = f'sum by ({OF_BATCH}) (dify_batch_documents{{{selector},status=~"completed|error"}})'
    split = (
        f"dify_document_segments_completed{{{selector}}} / (dify_document_segments{{{selector}}} > 0) "
        f"unless on ({OF_DOCUMENT}) "
        f'dify_document_indexing_status{{{selector},status=~"completed|error"}} == 1'
    )
    underway = (
        f"sum by ({OF_BATCH}) (({split}) "
        f'* on ({OF_DOCUMENT}) group_left (batch) dify_document_info{{{selector},batch!=""}})'
    )
    return f"({finished} + ({underway} or {finished} * 0)) / {documents}"


def of_exporters(expression: str) -> str:
    """``expression`` restricted to processes that are dify-exporters, whatever else runs under their job."""
    return f"{expression} and on (job, instance) dify_exporter_build_info"
