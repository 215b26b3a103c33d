"""The other commands, one module per family."""
