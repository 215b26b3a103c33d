"""The table of merges: how the answers of all shards to an endpoint become one answer. It imports no jina."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, TypeAlias

from executors.documents import ImageDoc
from executors.index.wire import merge
from executors.index.wire.columns import Columns
from executors.index.wire.facets import merge_facets
from executors.index.wire.pages import merge_pages

Parameters: TypeAlias = Mapping[str, Any]
MergeOne: TypeAlias = Callable[[Sequence[ImageDoc], Sequence[Columns]], ImageDoc]


@dataclass(frozen=True, slots=True)
class Merge:
    """How the answers of all shards become one.

    Args:
        of: returns the merge for a request with these parameters.
        strict: whether a shard at fault is the answer's error.
    """

    of: Callable[[Parameters], MergeOne]
    strict: bool = True


def _always(merge_one: MergeOne, *, strict: bool = True) -> Merge:
    return Merge(lambda _: merge_one, strict)


def _merge_of_search(parameters: Parameters) -> MergeOne:
    return partial(merge.merge_search, limit=int(parameters["limit"]), offset=int(parameters["offset"]))


# By endpoint; an endpoint that is not here is answered by one shard alone, and a flow file polls ANY of them for it.
MERGES: Final[dict[str, Merge]] = {
    "/search": Merge(_merge_of_search),
    "/update": _always(merge.merge_write),
    "/delete": _always(merge.merge_write),
    "/supersede": _always(merge.merge_supersede),
    "/get": _always(merge.merge_get),
    "/scroll": _always(merge_pages),
    "/count": _always(merge.merge_count),
    "/facets": _always(merge_facets),
    "/delete_matching": _always(merge.merge_removed),
    "/delete_children": _always(merge.merge_removed),
    "/drop": _always(merge.merge_drop),
    "/adopt": _always(merge.merge_adopted, strict=False),
    "/sample": _always(merge.gather),
    "/reindex": _always(merge.gather),
    "/recent": _always(merge.gather),
    "/verify": _always(merge.gather),
    "/status": _always(merge.gather, strict=False),
}
ONE_SHARD: Final = ("/index", "/embed")


def merge_answers(endpoint: str, per_shard: Sequence[Sequence[ImageDoc]], parameters: Parameters) -> list[ImageDoc]:
    """Merge the answers of all shards that gave one, document by document.

    Args:
        endpoint: one of `MERGES`.
        per_shard: the documents of each shard's answer, in the order of the request.
        parameters: those of the request.
    """
    found = MERGES[endpoint]
    return merge.merge_shards(per_shard, found.of(parameters), strict=found.strict)
