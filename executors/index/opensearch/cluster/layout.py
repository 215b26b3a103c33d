"""The layout of our indices in OpenSearch: names, settings, mappings. Pure.

A collection has an index of its own behind an alias of its own. The alias is never reused for another collection of the
same name, so that a late write into a dropped one fails. Beside them are `…-meta` (the identity of the index, its
collections) and `…-removed` (tombstones of ids whose collection does not exist).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Final, Literal

FORMAT: Final = 1
# Late writes arrive within the timeout of a request; a collection's documents remember longer than that themselves.
_GC_DELETES: Final = "15m"
# Stored in the source only, not indexed.
_UNINDEXED: Final = {"type": "keyword", "index": False, "doc_values": False}
_KEYWORD: Final = {"type": "keyword"}
# Fields of `_FIXED`, and the objects that hold the typed tags.
_OWN_FIELDS: Final = 40
_DEEPEST_PAGE: Final = 20_000
VECTOR: Final = "v"
MAX_DIMENSION: Final = 16_000
"""The largest dimension of a vector in the k-NN plugin."""

_FIXED: Final[dict[str, Any]] = {
    "collection": _KEYWORD,
    "id": _KEYWORD,
    "live": {"type": "boolean"},
    "version": _KEYWORD,
    # The parent's id, cut to the maximum length of a term.
    "of": _KEYWORD,
    # Everything in tags that has no typed field (tag_fields.py).
    "t": _KEYWORD,
    "removed_at": {"type": "long"},
    "thumbnail": {"type": "binary"},
    **dict.fromkeys(
        ("operation", "result", "digest", "content", "tags", "uri", "parent", "box", "text", "model_id"), _UNINDEXED
    ),
}
# Kinds of typed tags: the object that holds them, and the type.
TYPED: Final = {"k": {"type": "keyword"}, "n": {"type": "double"}, "b": {"type": "boolean"}}


@dataclass(frozen=True, slots=True)
class IndexOptions:
    """Settings of the indices that an operator chooses.

    Attributes:
        prefix: of all names.
        shards, replicas: of each collection's index.
        engine, m, ef_construction, ef_search: of the graph.
        precision: of the numbers in the graph: `single` (4 bytes), `half` (faiss), `byte` (lucene).
        tag_fields: how many typed fields the tags of a collection may have.
    """

    prefix: str = "visual-search"
    shards: int = 1
    replicas: int = 1
    engine: Literal["lucene", "faiss"] = "lucene"
    m: int = 16
    ef_construction: int = 128
    ef_search: int = 128
    precision: Literal["single", "half", "byte"] = "single"
    tag_fields: int = 300


def meta_alias(prefix: str) -> str:
    """The alias of the index that keeps the identity and the catalog."""
    return f"{prefix}-meta"


def removed_alias(prefix: str) -> str:
    """The alias of the index that keeps tombstones of collections that do not exist."""
    return f"{prefix}-removed"


def collection_pattern(prefix: str) -> str:
    """A pattern of the names of all indices of collections."""
    return f"{prefix}-c-*"


def new_alias(prefix: str, collection: str, unique: str) -> str:
    """A name for a new collection: readable, and never used before."""
    readable = re.sub(r"[^a-z0-9]+", "-", collection.lower()).strip("-")[:40]
    return "-".join(part for part in (f"{prefix}-c", readable, unique) if part)


def index_name(alias: str, generation: int, unique: str = "") -> str:
    """The name of the index behind an alias. Each rebuild makes the next generation; `unique` distinguishes it from one
    that an aborted rebuild left.
    """
    return f"{alias}-{generation:06d}{unique and '-'}{unique}"


def generation_of(index: str, alias: str) -> int:
    """The generation in an index's name."""
    return int(index.removeprefix(f"{alias}-").partition("-")[0])


def next_alias(alias: str) -> str:
    """The alias of the index that is being filled to replace the one behind `alias`."""
    return f"{alias}-next"


def small_index() -> dict[str, Any]:
    """The body of an index for documents about the index itself. All others depend on it, so it gets a replica if
    possible.
    """
    return {
        "settings": {"index": {"number_of_shards": 1, "auto_expand_replicas": "0-1", "gc_deletes": _GC_DELETES}},
        "mappings": {
            "_meta": {"format": FORMAT},
            "dynamic": False,
            "properties": {name: _FIXED[name] for name in ("collection", "id", "live", "version", "removed_at")},
        },
    }


def collection_index(options: IndexOptions, collection: str, model_id: str, dimension: int) -> dict[str, Any]:
    """The body of a collection's index."""
    return {
        "settings": {
            "index": {
                "knn": True,
                "number_of_shards": options.shards,
                "number_of_replicas": options.replicas,
                "gc_deletes": _GC_DELETES,
                "max_result_window": _DEEPEST_PAGE,
                "mapping.total_fields.limit": options.tag_fields + _OWN_FIELDS,
            }
        },
        "mappings": {
            "_meta": {"format": FORMAT, "collection": collection, "model_id": model_id, "dimension": dimension},
            # Unknown fields are refused, so that no field is silently left out of filters.
            "dynamic": "strict",
            "properties": {
                **_FIXED,
                **{name: {"type": "object", "dynamic": "strict"} for name in TYPED},
                VECTOR: {"type": "knn_vector", "dimension": dimension, "method": _method(options)},
            },
        },
    }


def typed_fields(names: dict[str, str]) -> dict[str, Any]:
    """The body that adds typed fields (`k.brand` to its kind `k`) to a collection's mapping."""
    objects: dict[str, Any] = {}
    for name, kind in names.items():
        objects.setdefault(kind, {"properties": {}})["properties"][name.partition(".")[2]] = TYPED[kind]
    return {"properties": objects}


def known_fields(mapping: dict[str, Any]) -> frozenset[str]:
    """The typed fields that a mapping has."""
    properties = mapping.get("properties", {})
    return frozenset(f"{kind}.{name}" for kind in TYPED for name in properties.get(kind, {}).get("properties", {}))


def _method(options: IndexOptions) -> dict[str, Any]:
    parameters: dict[str, Any] = {"m": options.m, "ef_construction": options.ef_construction}
    if options.engine == "faiss":
        parameters["ef_search"] = options.ef_search
    if options.precision == "half":
        parameters["encoder"] = {"name": "sq", "parameters": {"type": "fp16"}}
    elif options.precision == "byte":
        parameters["encoder"] = {"name": "sq", "parameters": {"bits": 7}}
    return {"name": "hnsw", "engine": options.engine, "space_type": "cosinesimil", "parameters": parameters}
