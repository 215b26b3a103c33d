"""Runs `visual-search facets` and `quality`."""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import json
from typing import Final

from executors.cli.exit_status import OK
from executors.cli.service import client_for
from executors.cli.terminal.output import cell, count_of, make_table, print_json, stdout_console
from executors.client import CollectionQuality, FacetResult

_NONE: Final = "–"


def facets(options: argparse.Namespace) -> int:
    """Print how often each value of some tags occurs.

    Raises:
        VisualSearchError: `collection_not_found`, `too_many_values`, or another error of the service.
    """

    async def ask() -> FacetResult:
        async with client_for(options) as client:
            paths = list(dict.fromkeys(options.paths))
            return await client.facets(paths, collection=options.collection, filter=options.filter, limit=options.limit)

    found = asyncio.run(ask())
    if options.json:
        for facet in found.facets:
            print_json({"count": found.count} | dataclasses.asdict(facet))
        return OK
    console = stdout_console()
    for facet in found.facets:
        table = make_table("value", "documents", right=("documents",), title=facet.path)
        for each in facet.values:
            table.add_row(cell(json.dumps(each.value, ensure_ascii=False)), cell(f"{each.count:,}"))
        console.print(table)
        if facet.more:
            console.print(f"and {count_of(facet.more, 'further value')}")
        console.print()
    console.print(f"{count_of(found.count, 'document')} in all")
    return OK


def quality(options: argparse.Namespace) -> int:
    """Print which part of the true best hits searches find.

    Raises:
        VisualSearchError: `collection_not_found`, or another error of the service.
    """

    async def ask() -> list[CollectionQuality]:
        async with client_for(options) as client:
            return await client.quality(
                collection=options.collection, sample=options.sample, k=options.k, ef=options.ef
            )

    reports = asyncio.run(ask())
    if options.json:
        for each in reports:
            print_json(dataclasses.asdict(each))
        return OK
    numbers = ("documents", "queries", "by graph", "precision", "lowest", "all found", "search ms", "exact ms")
    table = make_table("collection", *numbers, right=numbers)
    for each in reports:
        parts = (
            _part(each.mean),
            _part(each.lowest),
            _part(each.all_found),
            _time(each.graph_ms),
            _time(each.exact_ms),
        )
        counts = (f"{each.documents:,}", f"{each.queries:,}", f"{each.walked:,}")
        table.add_row(*map(cell, (each.collection, *counts, *parts)))
    stdout_console().print(table)
    return OK


def _part(value: float | None) -> str:
    return _NONE if value is None else f"{value:.4f}"


def _time(milliseconds: float | None) -> str:
    return _NONE if milliseconds is None else f"{milliseconds:,.2f}"
