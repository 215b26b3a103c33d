"""The memory of a shard: vectors and graphs, each as of the last transaction."""
