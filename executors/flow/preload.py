"""Imports what the stages need once, before they are forked: their processes share that memory, and start sooner."""

from __future__ import annotations

import gc
from collections.abc import Iterable
from importlib import import_module
from typing import Final

_OURS: Final = "executors."


def preload(classes: Iterable[str]) -> None:
    """Import the modules of executors and gateways of this project.

    What was imported is left out of later garbage collections, which would write into the shared memory and so copy it.

    Args:
        classes: full names, as flow files write them (`uses`); those of other projects are left to their processes.
    """
    for name in sorted(set(classes)):
        if name.startswith(_OURS):
            import_module(name.rpartition(".")[0])
    gc.collect()
    gc.freeze()
