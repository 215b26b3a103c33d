"""Models: the ones that exist, their sources, and their conversion into a Triton model repository."""
