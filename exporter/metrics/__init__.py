"""Renders tracked objects to the page that Prometheus scrapes."""

from exporter.metrics.catalog import CATALOG, catalog
from exporter.metrics.exposition import Exposition
from exporter.metrics.family import Family
from exporter.metrics.formats import Format, accepts_gzip, negotiate
from exporter.metrics.own import SelfMetrics
from exporter.metrics.own_catalog import SELF_METRICS, SelfFamily
from exporter.metrics.page import Page

__all__ = [
    "CATALOG",
    "SELF_METRICS",
    "Exposition",
    "Family",
    "Format",
    "SelfFamily",
    "SelfMetrics",
    "Page",
    "accepts_gzip",
    "catalog",
    "negotiate",
]
