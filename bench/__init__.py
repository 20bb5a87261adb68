"""Benchmarks: what the exporter costs, compared with the alternatives that a user has.

``make bench`` runs all of them; ``python -m bench.scrape`` and similar modules run one.
"""
