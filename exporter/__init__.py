"""Prometheus exporter for the knowledge bases of Dify."""

__version__ = "0.1.0"
