"""A shard's files: the SQLite database, its format, and what is read and written in it."""
