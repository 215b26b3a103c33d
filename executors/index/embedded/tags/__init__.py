"""The tag index: which rows have which value at which path, and filters answered from it."""
