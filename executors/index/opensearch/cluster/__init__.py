"""The cluster: its requests, indices and aliases, and its catalog of collections."""
