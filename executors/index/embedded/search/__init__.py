"""Searches: the plan, the candidates, the exact scores, groups and pages."""
