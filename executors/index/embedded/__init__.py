"""The embedded store: SQLite holds the documents, memory is a cache of them."""
