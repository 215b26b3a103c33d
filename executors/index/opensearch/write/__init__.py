"""Writes: conditional, in bulk, by the rules of versions."""
