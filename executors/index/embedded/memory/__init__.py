"""What a shard keeps in memory: vectors and graphs, each as of the last transaction."""
