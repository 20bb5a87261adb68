"""Feeds everything that reads what others write with inputs that nobody would write."""
