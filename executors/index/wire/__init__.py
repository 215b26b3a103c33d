"""The messages between the gateway and the shards: columns, and the merge of all shards' answers."""
