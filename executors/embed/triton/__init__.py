"""Calls to Triton servers that never hang, never multiply, and never let a bad vector through."""
