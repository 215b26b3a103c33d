"""Runs `visual-search get`, `delete` and `count`."""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import json
from collections.abc import Sequence
from typing import Final

from rich.console import Console

from executors.cli.exit_status import OK, SOME_FAILED
from executors.cli.journal_file import forget_deleted
from executors.cli.service import client_for
from executors.cli.terminal.confirmation import confirmed
from executors.cli.terminal.output import cell, count_of, make_table, print_json, stdout_console
from executors.client import DEFAULT_COLLECTION, FoundDocument, WriteResult
from executors.errors import VisualSearchError

_IDS_A_REQUEST: Final = 1000


def get(options: argparse.Namespace) -> int:
    """Print documents. The exit status is 1 if one of them does not exist.

    Raises:
        VisualSearchError: the service refused the request as a whole.
    """
    found = asyncio.run(_get(options))
    if options.json:
        for each in found:
            values = dataclasses.asdict(each) | {"error": each.error.to_json() if each.error else None}
            for name in ("embedding", "thumbnail"):
                values.pop(name)
            print_json(values)
    else:
        console = stdout_console()
        for each in found:
            _print_document(console, each)
    return SOME_FAILED if any(each.error for each in found) else OK


def delete(options: argparse.Namespace) -> int:
    """Delete documents. The exit status is 1 if one of them did not exist.

    Raises:
        VisualSearchError: the service refused the request as a whole; `invalid_parameter` if there are both ids and a
            filter, or neither, or if the filter is empty.
    """
    if bool(options.ids) == (options.filter is not None):
        raise VisualSearchError("invalid_parameter", "give ids to delete, or --filter JSON")
    if options.filter is not None:
        return _delete_matching(options)
    results = asyncio.run(_delete(options))
    if options.json:
        for each in results:
            error = each.error.to_json() if each.error else None
            print_json({"id": each.id, "result": each.result, "descendants": each.descendants, "error": error})
    else:
        console = stdout_console()
        missed = [each for each in results if each.result != "deleted"]
        if missed:
            table = make_table("id", "result")
            for each in missed:
                table.add_row(cell(each.id), cell(str(each.error) if each.error else each.result))
            console.print(table)
        descendants = sum(each.descendants for each in results)
        from_them = f", with {count_of(descendants, 'document')} that came from them" if descendants else ""
        console.print(f"{count_of(len(results) - len(missed), 'document')} deleted{from_them}, {len(missed):,} not")
    return OK if all(each.result == "deleted" for each in results) else SOME_FAILED


def _delete_matching(options: argparse.Namespace) -> int:
    if not options.filter:
        raise VisualSearchError(
            "invalid_parameter",
            "--filter: an empty filter matches every document; use `visual-search collections drop` to remove them all",
        )

    async def delete_matching() -> int:
        async with client_for(options) as client:
            return await client.delete_matching(options.filter, collection=options.collection)

    if not options.yes:
        number = count_of(asyncio.run(_count(options)), "document")
        if not confirmed(f"Delete {number} of {options.collection or DEFAULT_COLLECTION}?"):
            stdout_console().print("nothing was deleted")
            return SOME_FAILED
    deleted = asyncio.run(delete_matching())
    if options.json:
        print_json({"deleted": deleted})
    else:
        stdout_console().print(f"{count_of(deleted, 'document')} deleted")
    return OK


def count(options: argparse.Namespace) -> int:
    """Print how many documents there are.

    Raises:
        VisualSearchError: `collection_not_found`, or another error of the service.
    """
    number = asyncio.run(_count(options))
    if options.json:
        print_json({"collection": options.collection or DEFAULT_COLLECTION, "count": number})
    else:
        stdout_console().print(str(number))
    return OK


def _print_document(console: Console, document: FoundDocument) -> None:
    """Print the id, and below it a line for each field that has a value."""
    console.print(cell(document.id), style="bold", soft_wrap=True)
    if document.error is not None:
        console.print(cell(f"  {document.error}"), style="red", soft_wrap=True)
        return
    values = {
        "collection": document.collection,
        "uri": document.uri,
        "tags": json.dumps(dict(document.tags), ensure_ascii=False) if document.tags else None,
        "parent": document.parent,
        "box": list(document.box) if document.box else None,
        "text": document.text,
        "model": document.model_id,
        "version": document.version,
    }
    for name, value in values.items():
        if value is not None:
            console.print(cell(f"  {name:<11}{value}"), soft_wrap=True)


async def _count(options: argparse.Namespace) -> int:
    async with client_for(options) as client:
        return await client.count(collection=options.collection, filter=options.filter)


async def _get(options: argparse.Namespace) -> list[FoundDocument]:
    async with client_for(options) as client:
        found: list[FoundDocument] = []
        for ids in _chunks(options.ids):
            found += await client.get(ids, collection=options.collection)
        return found


async def _delete(options: argparse.Namespace) -> list[WriteResult]:
    async with client_for(options) as client:
        index_uuid = str(((await client.status()).get("index") or {}).get("uuid"))
        results: list[WriteResult] = []
        for ids in _chunks(options.ids):
            answered = await client.delete(ids, collection=options.collection)
            results += answered
            forget_deleted(index_uuid, options.collection, [each.id for each in answered if each.error is None])
        return results


def _chunks(ids: Sequence[str]) -> list[list[str]]:
    """Cut ids into requests, each id once."""
    unique = list(dict.fromkeys(ids))
    return [unique[start : start + _IDS_A_REQUEST] for start in range(0, len(unique), _IDS_A_REQUEST)]
