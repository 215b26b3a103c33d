"""What every executor does around its work: start something asynchronous from a constructor, and survive its own defects."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, Protocol, TypeVar

from executors.documents import Failure, ImageDoc
from executors.errors import VisualSearchError

T = TypeVar("T")


class Logger(Protocol):
    """The part of a logger that is used here."""

    def error(self, message: str, *args: Any, **kwargs: Any) -> None:
        """Log at level error."""


@contextmanager
def starting(stage: str, logger: Logger) -> Iterator[None]:
    """Around the work of a constructor: one line that says what keeps the stage from starting, then the flow ends.

    Jina's own line for it is empty with `quiet_error`, and a page of its internals without.
    """
    try:
        yield
    except VisualSearchError as error:
        logger.error(f"the stage {stage!r} can't start: {error}")
        raise
    except Exception as error:
        logger.error(f"the stage {stage!r} can't start: {error!r}", exc_info=error)
        raise


def start_now(start: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end from inside a constructor that Jina calls on a running event loop.

    Raises:
        VisualSearchError: what the coroutine raised; Jina then ends the process and the flow.
    """
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="start") as pool:
        return pool.submit(asyncio.run, start).result()


def as_error(error: Exception, stage: str, logger: Logger) -> VisualSearchError:
    """A typed error as it is; anything else is a defect: logged in full here, and told to the caller without a trace."""
    if isinstance(error, VisualSearchError):
        return error
    logger.error(f"{stage}: defect: {error!r}", exc_info=error)
    return VisualSearchError("internal", f"{stage!r} failed; its log has the details", stage=stage)


def fail_all(documents: Sequence[ImageDoc], error: VisualSearchError, stage: str) -> None:
    """Put the error into every document that has none yet."""
    failure = Failure(**error.to_json(), stage=stage)
    for document in documents:
        document.error = document.error or failure
