"""The queries of `visual-search search` with `--more-like` and `--less-like`: each is one query of several terms."""

from __future__ import annotations

import argparse
import asyncio
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from executors.cli.commands.query_files import is_stream, load_soon
from executors.cli.exit_status import is_unavailable
from executors.cli.terminal.output import is_unicode
from executors.client import Term
from executors.errors import VisualSearchError

MORE: Final = 1.0
LESS: Final = -0.5
_LOADED_AT_A_TIME: Final = 2


@dataclass(frozen=True, slots=True)
class CombinedQuery:
    """One query: `name` as it was typed, and its terms; or its error.

    `picture` is a small JPEG of it, if there is one. With `has_own`, the first term is the query itself, to which the
    others were added.
    """

    name: str
    terms: Sequence[Term] = ()
    picture: bytes | None = None
    is_text: bool = False
    has_own: bool = True
    error: VisualSearchError | None = None

    def is_own_fault(self, error: VisualSearchError) -> bool:
        """Whether the service refused the query itself, so that other queries may still succeed."""
        place = str(error.details.get("place", ""))
        return self.has_own and not is_unavailable(error) and place.partition(".like")[0] == "terms.0"


async def combined_queries(options: argparse.Namespace) -> list[CombinedQuery]:
    """Return one query for each file, text or `--like`, each with the further terms; without any, the terms alone.

    Raises:
        VisualSearchError: a file of `--more-like` or `--less-like` can't be read.
    """
    places = asyncio.Semaphore(_LOADED_AT_A_TIME)
    named = [(name, MORE) for name in options.more_like or ()] + [(name, LESS) for name in options.less_like or ()]
    further = [await _term(name, weight, places) for name, weight in named]
    queries = []
    for name in options.files:
        loaded = await load_soon(name, bool(options.html), places)
        terms = () if loaded.error else (Term(blob=loaded.blob), *further)
        queries.append(CombinedQuery(name, terms, loaded.picture, error=loaded.error))
    for text in options.text or ():
        if is_unicode(text):
            queries.append(CombinedQuery(text, (Term(text=text), *further), is_text=True))
        else:
            fault = VisualSearchError("invalid_text", "the text is not valid Unicode")
            queries.append(CombinedQuery(text, is_text=True, error=fault))
    if options.like:
        queries.append(CombinedQuery(options.like, (Term(like=options.like), *further)))
    if not queries:
        shown = " ".join(f"{'+' if weight > 0 else '-'}{name}" for name, weight in named)
        queries.append(CombinedQuery(shown, further, is_text=True, has_own=False))
    return queries


async def _term(name: str, weight: float, places: asyncio.Semaphore) -> Term:
    """Return the term for a file, if there is one of this name, or else for an indexed document of this id."""
    if not is_stream(name) and not await asyncio.to_thread(os.path.isfile, name):
        return Term(like=name, weight=weight)
    loaded = await load_soon(name, False, places)
    if loaded.error is not None:
        raise VisualSearchError(loaded.error.code, f"{name}: {loaded.error.message}", **loaded.error.details)
    return Term(blob=loaded.blob, weight=weight)
