"""Renders tracked objects to the page that Prometheus scrapes."""

from exporter.metrics.catalog import CATALOG, SELF_METRICS, catalog
from exporter.metrics.document_limit import DocumentLimit
from exporter.metrics.exposition import Exposition
from exporter.metrics.families import IDENTITY, Family, SelfFamily
from exporter.metrics.formats import Format, accepts_gzip, negotiate
from exporter.metrics.gzip import Page
from exporter.metrics.self_metrics import ProcessState, SelfMetrics
