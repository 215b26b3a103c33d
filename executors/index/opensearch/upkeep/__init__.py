"""Upkeep: rebuilds, full checks, and the status report."""
