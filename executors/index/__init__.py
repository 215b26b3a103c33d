"""The index stage: it stores vectors durably and searches them, in shards, behind one store contract."""
