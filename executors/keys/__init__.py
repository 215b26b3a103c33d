"""Keys: who may call the service, what for, and with which collections."""
