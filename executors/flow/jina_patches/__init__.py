"""Changes to Jina's own code, all for Jina 3.34.0; each says why it is there. `executors.bootstrap` applies them.

Upstream is quiet, so what Jina lacks is put right here, in one place, and by nothing else.
"""
