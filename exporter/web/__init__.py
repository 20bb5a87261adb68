"""The HTTP side of the exporter."""
