"""Examples of requests for the description of the API. A test posts each of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final


@dataclass(frozen=True, slots=True)
class Example:
    """One body that an endpoint takes.

    Args:
        name: its key in the description.
        summary: one line that says what the example shows.
        body: as HTTP callers send it.
    """

    name: str
    summary: str
    body: dict[str, Any]


# A red square on white, 16 × 16 pixels.
_RED_SQUARE: Final = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAABAAAAAQCAIAAACQkWg2AAAAK0lEQVQoz2P8//8/AymAiYFEQHsNLMicu7aaWBUp"
    "H74+mP0wHDQwDoO0BAAtygkb92OPGQAAAABJRU5ErkJggg=="
)
_PICTURE: Final = {"id": "red-square", "blob": _RED_SQUARE}
# The default model takes no texts.
_TEXT: Final = "a text, where the model has a text tower"

INDEX: Final = (Example("picture", "a picture", {"data": [_PICTURE | {"tags": {"colour": "red"}}]}),)
SEARCH: Final = (
    Example("picture", "a picture", {"data": [{"blob": _RED_SQUARE}], "parameters": {"limit": 5}}),
    Example("text", _TEXT, {"data": [{"text": "a red square"}], "parameters": {"limit": 5}}),
    Example(
        "filter",
        "the best match of each shape among those that are red, their tags only",
        {
            "data": [{"blob": _RED_SQUARE}],
            "parameters": {"filter": {"colour": "red"}, "group_by": "shape", "fields": ["tags"], "explain": True},
        },
    ),
    Example(
        "terms",
        "like one picture, but less like an indexed one, and not too similar",
        {
            "data": [{"blob": _RED_SQUARE}],
            "parameters": {"terms": [{"data": 0}, {"like": "red-square", "weight": -0.5}], "score_max": 0.95},
        },
    ),
)
UPDATE: Final = (
    Example(
        "tags",
        "other tags",
        {"data": [{"id": "red-square", "tags": {"shape": "square"}}], "parameters": {"mode": "merge"}},
    ),
)
GET: Final = (Example("ids", "by id", {"data": [{"id": "red-square"}]}),)
EMBED: Final = (
    Example("picture", "a picture", {"data": [_PICTURE]}),
    Example("text", _TEXT, {"data": [{"text": "a red square"}]}),
)
SCROLL: Final = (Example("filter", "by filter", {"parameters": {"filter": {"colour": "red"}, "limit": 10}}),)
COUNT: Final = (Example("filter", "by filter", {"parameters": {"filter": {"colour": {"$in": ["red", "blue"]}}}}),)
DELETE: Final = (
    Example("ids", "by id", {"data": [{"id": "red-square"}]}),
    Example("filter", "by filter", {"parameters": {"filter": {"colour": "red", "price": {"$gt": 100}}}}),
)
QUALITY: Final = (Example("small", "the best five for ten stored vectors", {"parameters": {"sample": 10, "k": 5}}),)
FACETS: Final = (
    Example(
        "colours",
        "the colours and shapes of what costs less than 50",
        {"parameters": {"paths": ["colour", "shape"], "filter": {"price": {"$lt": 50}}, "limit": 5}},
    ),
)
EMPTY: Final = (Example("defaults", "with the defaults", {}),)
EVENTS: Final = (
    'id: 5f0c2b1e-1\nevent: health\ndata: {"ok": true, "ready": true, "draining": false, "reason": null, "silent": [], '
    '"missing_shards": [], "errors": {}}\n\n'
    "id: 5f0c2b1e-2\nevent: rebuilds\n"
    'data: {"running": [{"shard": 0, "collection": "images", "done": 3000, "total": 50000}], "failed": [], "finished": 2}\n\n'
)
