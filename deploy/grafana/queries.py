"""PromQL that more than one panel needs, with the variables of the dashboards in it."""

from __future__ import annotations

SERVERS = 'job=~"$job",server=~"$server"'
DATASETS = f'{SERVERS},dataset_id=~"$dataset"'
BATCH = f'{DATASETS},batch=~"$batch"'
DOCUMENT = f'{DATASETS},document_id="$document"'

OF_DATASET = "job, instance, server, dataset_id"
OF_BATCH = f"{OF_DATASET}, batch"
OF_DOCUMENT = f"{OF_DATASET}, document_id"
"""Labels to join on. With ``instance``, a second exporter on the same server never makes a join ambiguous."""

STATUSES = ("waiting", "parsing", "cleaning", "splitting", "indexing", "paused", "completed", "error", "unknown")
"""Indexing statuses in the order in which a document meets them; a state time line counts them from 1."""


def total(expression: str, by: str = "") -> str:
    """The sum of ``expression``, or one for each value of the label ``by``.

    What several exporters on the same server see counts once, as in the rules. Of a counter give the rate or the
    increase: two exporters have not counted for equally long.
    """
    return f"sum {f'by ({by}) ' if by else ''}(max without (instance, pod) ({expression}))"


def with_dataset(expression: str) -> str:
    """``expression`` with the name of the knowledge base in the label ``dataset``.

    Where the name is not known the id stands for it, so that nothing disappears that cannot be named.
    """
    return (
        f"({expression}) * on ({OF_DATASET}) group_left (dataset) ("
        f'label_replace(dify_dataset_info{{{DATASETS}}}, "dataset", "$1", "name", "(?s)(.+)") '
        f"or on ({OF_DATASET}) "
        f'label_replace(dify_documents_restarted_total{{{DATASETS}}} >= bool 0, "dataset", "$1", "dataset_id", "(.+)"))'
    )


def with_document(expression: str, selector: str = DATASETS, *more: str) -> str:
    """``expression`` with the document's name (its id, where labels.document_name is off) in the label ``document``.

    ``more``: further labels of ``dify_document_info`` to take over.
    """
    taken = ", ".join(("document", *more))
    return (
        f"({expression}) * on ({OF_DOCUMENT}) group_left ({taken}) "
        f'label_replace(label_replace(dify_document_info{{{selector}}}, "document", "$1", "document_id", "(.+)"), '
        f'"document", "$1", "name", "(?s)(.+)")'
    )


def with_status(expression: str, selector: str = DATASETS) -> str:
    """``expression`` with the indexing status of the document in the label ``status``."""
    return f"({expression}) * on ({OF_DOCUMENT}) group_left (status) (dify_document_indexing_status{{{selector}}} == 1)"


def status_number(selector: str) -> str:
    """The place of each document's indexing status in ``STATUSES``, counted from 1."""
    return " or ".join(
        f'(dify_document_indexing_status{{{selector},status="{status}"}} == 1) * {number}'
        for number, status in enumerate(STATUSES, 1)
    )


def unfinished_documents(selector: str = DATASETS) -> str:
    """A series for each document that is neither completed nor failed nor paused."""
    return f'dify_document_indexing_status{{{selector},status!~"completed|error|paused"}} == 1'


def unfinished_batches(selector: str = DATASETS) -> str:
    """The number of documents that are neither completed nor failed, of each batch that has any."""
    return f'sum by ({OF_BATCH}) (dify_batch_documents{{{selector},status!~"completed|error"}}) > 0'


def batch_progress(selector: str = DATASETS) -> str:
    """How far each batch is, 0 to 1: the mean of its documents, of which a finished one counts 1.

    Not its share of segments, which is 1 as long as the only documents that are split are completed ones. How many are
    finished is known of the batch; single documents may have no series because of ``limits.documents``, and
    finished ones are the first to lose them. An unfinished one without series counts as not begun.
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
    """``expression`` for the processes that are dify-exporters, whatever else runs under their job."""
    return f"{expression} and on (job, instance) dify_exporter_build_info"
