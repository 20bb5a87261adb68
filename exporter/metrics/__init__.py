"""Renders tracked objects to the page that Prometheus scrapes."""

from exporter.metrics.catalog import CATALOG, catalog
from exporter.metrics.exposition import Exposition
from exporter.metrics.family import Family
from exporter.metrics.formats import Format, accepts_gzip, negotiate
from exporter.metrics.own import OwnMetrics
from exporter.metrics.own_catalog import OWN, OwnFamily
from exporter.metrics.page import Page

__all__ = [
    "CATALOG",
    "OWN",
    "Exposition",
    "Family",
    "Format",
    "OwnFamily",
    "OwnMetrics",
    "Page",
    "accepts_gzip",
    "catalog",
    "negotiate",
]
