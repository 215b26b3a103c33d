"""The start, the run and the end of a flow: checks of its file, its log, its signals, and the changes to Jina."""
