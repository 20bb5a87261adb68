"""Lets the real process run for long while everything around it changes and fails, and says how it bore that."""
