"""One hit a group, the best: the search goes on among the other documents until there are enough groups, or nothing is left."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

from executors.index.embedded.disk.reads import HitFields
from executors.index.embedded.search.exact import Best
from executors.index.embedded.search.group_rows import BY_PARENT
from executors.index.embedded.tags.rowsets import Rows
from executors.index.tag_values import value_at, value_key

_FIRST: Final = 4
_WIDER: Final = 4


class _Group(NamedTuple):
    """A group's best document (score, id, row), and the group's value."""

    best: tuple[float, str, int]
    value: Any


def best_of_groups(
    path: str,
    limit: int,
    available: int,
    rank: Callable[[Rows | None, int], Best],
    fields_of: Callable[[Sequence[int]], dict[int, HitFields]],
    left: Callable[[Rows | None, Sequence[int], Sequence[Any]], Rows],
) -> tuple[Best, list[Any]]:
    """The best hit of each of the `limit` best groups, and the groups' values.

    Args:
        path: a tag's path, or `parent`.
        available: how many documents there are to choose from.
        rank: the so many best documents of some rows (None: all), best first.
        fields_of: what documents show, by row.
        left: see `GroupRows.left`.
    """
    groups: dict[str, _Group] = {}
    rows: Rows | None = None
    wanted = min(available, limit * _FIRST)
    while True:
        best = rank(rows, wanted)
        fresh = _add_groups(groups, path, best, fields_of(best.rows))
        # Fewer than asked for: whatever is left is below the threshold.
        if len(groups) >= limit or len(best.rows) < wanted or wanted >= available:
            break
        rows = left(rows, best.rows, fresh)
        available = len(rows)
        if not available:
            break
        wanted = min(available, wanted if fresh else wanted * _WIDER)
    found = Best.of((group.best for group in groups.values()), limit)
    values = {group.best[2]: group.value for group in groups.values()}
    return found, [values[row] for row in found.rows]


def _add_groups(groups: dict[str, _Group], path: str, best: Best, fields: dict[int, HitFields]) -> list[Any]:
    """Enter each new group with its best, and tell the new groups' values."""
    fresh = []
    for row, document_id, score in zip(best.rows, best.ids, best.scores, strict=True):
        found, value = _group_of(path, document_id, fields[row])
        key = value_key(value)
        if found and key not in groups:
            groups[key] = _Group((score, document_id, row), value)
            fresh.append(value)
    return fresh


def _group_of(path: str, document_id: str, fields: HitFields) -> tuple[bool, Any]:
    if path == BY_PARENT:
        # A picture stands with what came from it.
        return True, document_id if fields.parent is None else fields.parent
    return value_at(fields.tags, path)
