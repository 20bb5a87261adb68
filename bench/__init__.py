"""Benchmarks: what the exporter costs, side by side with what a user would do otherwise.

``make bench`` runs them all; ``python -m bench.scrape`` and its like run one.
"""
