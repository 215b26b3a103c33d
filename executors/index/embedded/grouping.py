"""One hit a group, the best: the search is widened until there are enough groups, or nothing is left."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from executors.index.embedded.reads import HitFields
from executors.index.embedded.scoring import Best
from executors.index.tag_values import value_at, value_key

BY_PARENT: Final = "parent"
_FIRST: Final = 4
_WIDER: Final = 4


def best_of_groups(
    path: str,
    limit: int,
    available: int,
    rank: Callable[[int], Best],
    fields_of: Callable[[Sequence[int]], dict[int, HitFields]],
) -> tuple[Best, list[Any]]:
    """The best hit of each of the `limit` best groups, and the groups' values.

    Args:
        path: a tag's path, or `parent`.
        available: how many documents there are to choose from.
        rank: the so many best documents, best first.
        fields_of: what documents show, by row.
    """
    wanted = min(available, limit * _FIRST)
    while True:
        best = rank(wanted)
        kept, values = _first_of_groups(path, limit, best, fields_of(best.rows))
        # Fewer than asked for: whatever is left is below the threshold.
        if len(kept) == limit or len(best.rows) < wanted or wanted >= available:
            return Best(
                [best.rows[n] for n in kept], [best.ids[n] for n in kept], [best.scores[n] for n in kept]
            ), values
        wanted = min(available, wanted * _WIDER)


def _first_of_groups(path: str, limit: int, best: Best, fields: dict[int, HitFields]) -> tuple[list[int], list[Any]]:
    seen: set[str] = set()
    kept: list[int] = []
    values: list[Any] = []
    for n, (row, document_id) in enumerate(zip(best.rows, best.ids, strict=True)):
        found, value = _group_of(path, document_id, fields[row])
        key = value_key(value)
        if found and key not in seen:
            seen.add(key)
            kept.append(n)
            values.append(value)
            if len(kept) == limit:
                break
    return kept, values


def _group_of(path: str, document_id: str, fields: HitFields) -> tuple[bool, Any]:
    if path == BY_PARENT:
        # A picture stands with what came from it.
        return True, document_id if fields.parent is None else fields.parent
    return value_at(fields.tags, path)
