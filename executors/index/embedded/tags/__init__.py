"""The tag index: it finds rows by the values at their paths, and answers filters."""
