"""Runs `visual-search search`: prints the matches as a table or JSON, or writes a page."""

from __future__ import annotations

import argparse
import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeAlias

from rich.table import Table

from executors.cli.commands.query_files import load_soon
from executors.cli.commands.search_terms import CombinedQuery, combined_queries
from executors.cli.exit_status import OK, SOME_FAILED, is_unavailable
from executors.cli.service import client_for
from executors.cli.terminal.html_page import QueryResult, ReportMatch, write_report
from executors.cli.terminal.output import (
    cell,
    is_unicode,
    make_table,
    print_json,
    printable,
    stderr_console,
    stdout_console,
)
from executors.client import DEFAULT_COLLECTION, Answer, Document, SearchOptions, SearchResult, VisualSearchClient
from executors.client.answers import Hit
from executors.errors import ErrorCode, VisualSearchError

_FILES_A_REQUEST: Final = 8
_TEXTS_A_REQUEST: Final = 32
_REQUEST_BYTES: Final = 16_000_000
# Few at a time, because files may be large before they are made smaller.
_LOADED_AT_A_TIME: Final = 2
_THUMBNAIL_REQUESTS: Final = 8
# Errors of the whole command, not of one of its queries.
_WRONG_QUERY: Final[frozenset[ErrorCode]] = frozenset({"invalid_parameter", "invalid_filter"})

_Found: TypeAlias = tuple[SearchResult, Mapping[str, Any] | None]


@dataclass(frozen=True, slots=True)
class Answered:
    """One query and its result: `name` as it was typed, `picture` a small JPEG of it, if there is one.

    `plan` is how the shards searched, with `--explain`.
    """

    name: str
    result: SearchResult
    picture: bytes | None = None
    is_text: bool = False
    plan: Mapping[str, Any] | None = None


def search(options: argparse.Namespace) -> int:
    """Run the command and return its exit status, which is 1 if a query failed.

    Raises:
        VisualSearchError: the service refused a request as a whole, or the page can't be written.
    """
    terms = options.more_like or options.less_like
    if bool(options.files or options.text) == bool(options.like) and (options.like or not terms):
        raise VisualSearchError("invalid_parameter", "search with files, with --text TEXT, or with --like ID")
    if options.exclude_self and not (options.like or terms):
        raise VisualSearchError("invalid_parameter", "--exclude-self can only be used with --like")
    if options.threshold is not None and options.score_min is not None:
        raise VisualSearchError("invalid_parameter", "--threshold and --score-min are the same bound; give one of them")
    answered, thumbnails = asyncio.run(_search(options))
    if options.html:
        _write_page(Path(options.html), answered, thumbnails)
    if options.json:
        for each in answered:
            print_json(_to_json(each, options))
    else:
        console = stdout_console()
        console.print(_table(answered, with_group=options.group_by is not None))
        for each in answered:
            if each.result.error is None and not each.result.matches:
                console.print(f"{printable(each.name)}: no match", soft_wrap=True)
        for each in answered:
            for shard in (each.plan or {}).get("shards") or []:
                console.print(cell(f"{each.name}: {json.dumps(shard, ensure_ascii=False)}"), soft_wrap=True)
    if options.html:
        stderr_console().print(f"the page is {printable(str(Path(options.html).absolute()))}", soft_wrap=True)
    return SOME_FAILED if any(each.result.error for each in answered) else OK


async def _search(options: argparse.Namespace) -> tuple[list[Answered], dict[str, bytes | None]]:
    """Search; with `--html`, fetch the thumbnails of the matches as well, by id."""
    async with client_for(options) as client:
        if options.more_like or options.less_like:
            answered = [await _combined(client, each, options) for each in await combined_queries(options)]
        elif options.like:
            answered = await _like(client, options)
        else:
            answered = [*await _with_files(client, options), *await _with_texts(client, options)]
        thumbnails: dict[str, bytes | None] = {}
        if options.html:
            wanted = [match.id for each in answered for match in each.result.matches]
            thumbnails = await fetch_thumbnails(client, wanted, options.collection)
        return answered, thumbnails


async def _like(client: VisualSearchClient, options: argparse.Namespace) -> list[Answered]:
    answer = await client.search_like(options.like, **search_options(options))
    picture = None
    if options.html:
        picture = (await fetch_thumbnails(client, [options.like], options.collection))[options.like]
    return [Answered(options.like, answer[0], picture, plan=_plans(answer)[0])]


async def _combined(client: VisualSearchClient, query: CombinedQuery, options: argparse.Namespace) -> Answered:
    """Search with a query and its further terms. An error of the query itself affects no other query."""
    result, plan = SearchResult(query.name, error=query.error), None
    if query.error is None:
        try:
            answer = await client.search_terms(query.terms, **search_options(options))
            result, plan = answer[0], _plans(answer)[0]
        except VisualSearchError as error:
            if not query.is_own_fault(error):
                raise
            result = SearchResult(query.name, error=error)
    return Answered(query.name, result, query.picture, is_text=query.is_text, plan=plan)


async def _with_files(client: VisualSearchClient, options: argparse.Namespace) -> list[Answered]:
    """Search with a few files at a time. A file that can't be read affects no other."""
    answered: list[Answered] = []
    places = asyncio.Semaphore(_LOADED_AT_A_TIME)
    names: Sequence[str] = list(dict.fromkeys(options.files)) if "-" in options.files else options.files
    for start in range(0, len(names), _FILES_A_REQUEST):
        group = names[start : start + _FILES_A_REQUEST]
        loaded = await asyncio.gather(*(load_soon(name, bool(options.html), places) for name in group))
        queries = [(each, Document(id=str(n), blob=each.blob)) for n, each in enumerate(loaded) if each.error is None]
        results: dict[str, _Found] = {}
        for documents in _requests([document for _, document in queries]):
            for document, found in zip(documents, await _ask(client, documents, options), strict=True):
                results[str(document.id)] = found
        for n, each in enumerate(loaded):
            result, plan = results.get(str(n), (SearchResult(each.name, error=each.error), None))
            answered.append(Answered(each.name, result, each.picture, plan=plan))
    return answered


async def _with_texts(client: VisualSearchClient, options: argparse.Namespace) -> list[Answered]:
    """Search with some texts at a time. A text that can't be sent affects no other."""
    answered: list[Answered] = []
    texts: Sequence[str] = options.text or ()
    for start in range(0, len(texts), _TEXTS_A_REQUEST):
        group = texts[start : start + _TEXTS_A_REQUEST]
        queries = [Document(id=str(n), text=text) for n, text in enumerate(group) if is_unicode(text)]
        found = {each[0].id: each for each in (await _ask(client, queries, options) if queries else ())}
        fault = VisualSearchError("invalid_text", "the text is not valid Unicode")
        for n, text in enumerate(group):
            result, plan = found.get(str(n), (SearchResult(text, error=fault), None))
            answered.append(Answered(text, result, is_text=True, plan=plan))
    return answered


async def _ask(
    client: VisualSearchClient, documents: Sequence[Document], options: argparse.Namespace
) -> Sequence[_Found]:
    """Search in one request; if the service refuses its content, each query fails with that error."""
    try:
        answer = await client.search(documents, **search_options(options))
    except VisualSearchError as error:
        if is_unavailable(error) or error.code in _WRONG_QUERY:
            raise
        return [(SearchResult(str(document.id), error=error), None) for document in documents]
    return list(zip(answer, _plans(answer), strict=True))


def search_options(options: argparse.Namespace) -> SearchOptions:
    """The search options of the client, from the command line."""
    return {
        "limit": options.limit,
        "threshold": options.threshold,
        "score_min": options.score_min,
        "score_max": options.score_max,
        "collection": options.collection,
        "filter": options.filter,
        "group_by": options.group_by,
        "fields": options.fields,
        "exclude_self": options.exclude_self,
        "exact": options.exact,
        "ef": options.ef,
        "explain": options.explain,
    }


def _plans(answer: Answer[SearchResult]) -> list[Mapping[str, Any] | None]:
    """How the shards searched, for each query; None if the service does not say."""
    return [*answer.explain, *[None] * len(answer)][: len(answer)]


def _requests(documents: Sequence[Document]) -> list[list[Document]]:
    """Cut queries into requests of at most _REQUEST_BYTES; a larger query is a request of its own."""
    requests: list[list[Document]] = []
    size = 0
    for document in documents:
        length = len(document.blob or b"")
        if not requests or size + length > _REQUEST_BYTES:
            requests.append([])
            size = 0
        requests[-1].append(document)
        size += length
    return requests


async def fetch_thumbnails(
    client: VisualSearchClient, ids: Sequence[str], collection: str | None
) -> dict[str, bytes | None]:
    """Fetch the thumbnails of documents, by id; None if the index has none. Each is fetched once."""
    places = asyncio.Semaphore(_THUMBNAIL_REQUESTS)

    async def fetch(document_id: str) -> bytes | None:
        async with places:
            return await client.thumbnail(document_id, collection=collection or DEFAULT_COLLECTION)

    unique = list(dict.fromkeys(ids))
    return dict(zip(unique, await asyncio.gather(*(fetch(each) for each in unique)), strict=True))


def _to_json(answered: Answered, options: argparse.Namespace) -> dict[str, Any]:
    error = answered.result.error
    values = {
        "query": answered.name,
        "matches": [_match_to_json(match, options) for match in answered.result.matches],
        "error": error.to_json() if error else None,
    }
    return values | ({"explain": answered.plan} if options.explain else {})


def _match_to_json(match: Hit, options: argparse.Namespace) -> dict[str, Any]:
    """A match as JSON, with the fields that `--fields` names."""
    wanted = ["id", "score", "uri", "tags", "parent", "box"]
    if options.fields is not None:
        wanted = ["id", "score", *dict.fromkeys(name.partition(".")[0] for name in options.fields)]
    if options.group_by is not None:
        wanted.append("group")
    return {name: getattr(match, name, None) for name in wanted}


def _table(answered: Sequence[Answered], *, with_group: bool) -> Table:
    group_column = ("group",) if with_group else ()
    table = make_table("query", "rank", "id", "score", *group_column, "uri and tags", right=("rank", "score"))
    for each in answered:
        if each.result.error is not None:
            table.add_row(cell(each.name), None, cell(each.result.error), style="red")
        for rank, match in enumerate(each.result.matches, 1):
            uri = match.uri if match.uri != match.id else None
            tags = json.dumps(dict(match.tags), ensure_ascii=False) if match.tags else None
            label = " ".join(part for part in (uri, tags) if part)
            first = cell(each.name) if rank == 1 else None
            group = (cell(json.dumps(match.group, ensure_ascii=False)),) if with_group else ()
            table.add_row(first, str(rank), cell(match.id), f"{match.score:.4f}", *group, cell(label))
        table.add_section()
    return table


def _write_page(path: Path, answered: Sequence[Answered], thumbnails: dict[str, bytes | None]) -> None:
    queries = [
        QueryResult(
            label="" if each.is_text else Path(each.name).name,
            text=each.name if each.is_text else "",
            picture=each.picture,
            matches=[ReportMatch(match.id, match.score, thumbnails.get(match.id)) for match in each.result.matches],
            error=str(each.result.error or ""),
        )
        for each in answered
    ]
    count = len(queries)
    subtitle = f"{count:,} {'query' if count == 1 else 'queries'} and the most similar pictures of the index."
    try:
        write_report(path, "Visual search", queries, subtitle=subtitle)
    except OSError as error:
        raise VisualSearchError("unreadable_file", f"{path} can't be written: {error.strerror or error}") from None
