"""Vectors to a durable, searchable, sharded index, behind one store contract."""
