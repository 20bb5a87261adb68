"""Feeds random inputs to everything that parses external data."""
