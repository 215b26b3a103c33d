"""Writes: one thread, one transaction for many callers, one outcome for each write."""
