"""From objects to the page that Prometheus scrapes."""

from exporter.metrics.catalog import CATALOG, Family, catalog
from exporter.metrics.exposition import Exposition
from exporter.metrics.formats import Format, accepts_gzip, negotiate
from exporter.metrics.page import Page

__all__ = ["CATALOG", "Exposition", "Family", "Format", "Page", "accepts_gzip", "catalog", "negotiate"]
