"""``python -m exporter`` is ``dify-exporter``."""

from exporter.cli import main

main(prog_name="dify-exporter")
