"""The sharded index as the gateway sees it."""
