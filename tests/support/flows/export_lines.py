"""Lines of exports, as `visual-search import` reads them."""

from __future__ import annotations

import json
from typing import Any

from executors.cli.transfer.format import CollectionLine, Header, header_line
from tests.support.flows.library_service import MODEL


def doc(document_id: str, **fields: Any) -> bytes:
    """A document with a vector of four numbers."""
    values = {"id": document_id, "collection": "images", "model_id": MODEL, "embedding": [1.0, 0.0, 0.0, 0.5]}
    return json.dumps(values | fields).encode() + b"\n"


def header(*names: str, model: str = MODEL) -> bytes:
    """The first line: collections of one model."""
    return header_line(Header([CollectionLine(name, model, 4, 3) for name in names]))
