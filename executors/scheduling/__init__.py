"""Scheduling of waiting requests: they take turns, and share threads."""
