"""Metrics in Prometheus' format: what the gateway counts by itself, and what all processes report."""
