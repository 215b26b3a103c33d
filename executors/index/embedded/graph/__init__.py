"""The graph of one collection: approximate search over the vectors, kept in memory and in a file."""
