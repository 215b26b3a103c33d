"""Queries: filters, ranking by vector, pages."""
