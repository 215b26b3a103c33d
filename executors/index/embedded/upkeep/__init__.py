"""Upkeep of a shard: graphs that are extended and rebuilt, and full checks."""
