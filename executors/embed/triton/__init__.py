"""Calls to Triton servers that never hang, are never multiplied by retries, and never return an unchecked vector."""
