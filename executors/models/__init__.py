"""Which models exist, where they come from, and how they become a Triton model repository."""
