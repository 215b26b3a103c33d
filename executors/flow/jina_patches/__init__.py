"""Changes to Jina's own code. `patches` lists all of them, with the reason for each and when it can be removed."""
