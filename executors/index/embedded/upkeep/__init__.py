"""What keeps a shard sound: graphs that are extended and rebuilt, and full checks."""
