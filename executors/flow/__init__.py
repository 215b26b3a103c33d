"""How a flow starts, runs and ends: checks of its file, its log, its signals, and the changes to Jina."""
