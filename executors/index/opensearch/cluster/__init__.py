"""The cluster: requests, indices, aliases, and what it knows of the collections."""
