"""The other commands, one module a family."""
