"""Rebuilds, full checks, and what the status tells."""
