"""Runs `visual-search collections`: list, create, show and drop."""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Sequence
from typing import Any

from executors.cli.exit_status import OK, SOME_FAILED
from executors.cli.service import client_for
from executors.cli.terminal.confirmation import confirmed
from executors.cli.terminal.output import cell, count_of, make_table, print_error, print_json, stdout_console
from executors.client import CollectionInfo


def collections(options: argparse.Namespace) -> int:
    """Run one of the actions and return its exit status.

    Raises:
        VisualSearchError: `collection_not_found`, `model_mismatch`, `dimension_mismatch`, or another error of the service.
    """
    match options.action or "list":
        case "list":
            return _list(options)
        case "create":
            return _create(options)
        case "show":
            return _show(options)
        case "drop":
            return _drop(options)
    raise AssertionError(f"the parser knows an action that this function does not: {options.action}")


def _list(options: argparse.Namespace) -> int:
    async def ask() -> Sequence[CollectionInfo]:
        async with client_for(options) as client:
            return await client.collections()

    found = asyncio.run(ask())
    _print(options, found)
    if not found and not options.json:
        stdout_console().print("there is no collection; the first document that is written creates one")
    return OK


def _create(options: argparse.Namespace) -> int:
    async def ask() -> CollectionInfo:
        async with client_for(options) as client:
            return await client.create_collection(options.name, model_id=options.model_id, dimension=options.dimension)

    made = asyncio.run(ask())
    if options.json:
        print_json(_to_json(made) | {"result": made.result})
    else:
        stdout_console().print(
            cell(f"{made.name}: {made.result} ({made.model_id}, dimension {made.dimension:,})"), soft_wrap=True
        )
    return OK


def _show(options: argparse.Namespace) -> int:
    async def ask() -> CollectionInfo:
        async with client_for(options) as client:
            return await client.collection(options.name)

    _print(options, [asyncio.run(ask())])
    return OK


def _drop(options: argparse.Namespace) -> int:
    async def describe() -> CollectionInfo:
        async with client_for(options) as client:
            return await client.collection(options.name)

    async def drop() -> int:
        async with client_for(options) as client:
            return await client.drop_collection(options.name)

    if not options.yes:
        found = asyncio.run(describe())
        if not confirmed(f"Drop the collection {found.name} with its {count_of(found.documents, 'document')}?"):
            stdout_console().print("nothing was dropped")
            return SOME_FAILED
    documents = asyncio.run(drop())
    if options.json:
        print_json({"name": options.name, "result": "deleted", "documents": documents})
    else:
        stdout_console().print(cell(f"{options.name}: dropped, with {count_of(documents, 'document')}"), soft_wrap=True)
    return OK


def _print(options: argparse.Namespace, found: Sequence[CollectionInfo]) -> None:
    if options.json:
        for each in found:
            print_json(_to_json(each))
        return
    if not found:
        return
    table = make_table("name", "documents", "model", "dimension", right=("documents", "dimension"))
    for each in found:
        table.add_row(cell(each.name), f"{each.documents:,}", cell(each.model_id), f"{each.dimension:,}")
    stdout_console().print(table)
    for each in found:
        if each.error:
            print_error(f"{each.name}: {each.error}")


def _to_json(collection: CollectionInfo) -> dict[str, Any]:
    return {
        "name": collection.name,
        "model_id": collection.model_id,
        "dimension": collection.dimension,
        "documents": collection.documents,
        **({"error": collection.error} if collection.error else {}),
    }
