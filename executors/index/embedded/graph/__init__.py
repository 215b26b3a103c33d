"""The graph of one collection: approximate search over vectors that stand in SQLite, kept in memory and in a file."""
