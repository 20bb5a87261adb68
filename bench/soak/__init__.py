"""Runs the real process for a long time while everything around it changes and fails, and reports how it coped."""
