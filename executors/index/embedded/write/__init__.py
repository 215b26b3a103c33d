"""Writes: one thread, one transaction for several calls, one outcome for each write."""
