"""Changes to Jina's own code. `patches` lists all of them: what is changed, why, and when a change may go."""
