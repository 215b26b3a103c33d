"""The embedded store: SQLite is the truth, memory is a cache of it."""
