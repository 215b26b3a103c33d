"""Changes to work that Jina does for nothing, or again and again, while a flow starts."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from copy import deepcopy
from functools import cache
from types import SimpleNamespace
from typing import Any

import docarray.utils.create_dynamic_doc_class as dynamic
import jina.helper
from docarray import BaseDoc
from jina.serve.runtimes.worker import request_handling


def look_up_unknown_arguments_only() -> None:
    """Keep Jina from building a table of all its arguments where there is no unknown one that it could look up.

    For that table it makes every parser of its command line, those of its cloud included.
    """
    warn = jina.helper.warn_unknown_args

    def warn_if_any(unknown: Any) -> None:
        if unknown:
            warn(unknown)

    jina.helper.warn_unknown_args = warn_if_any


def make_no_snapshot_folders() -> None:
    """Keep each stage from making a temporary folder for snapshots, which nothing here takes; it would be left behind."""
    request_handling.tempfile = SimpleNamespace(mkdtemp=tempfile.gettempdir)


def describe_documents_once() -> None:
    """Describe a type of document once in a process, and not several times for each endpoint that takes or returns it.

    The gateway asks every stage for these descriptions, and the start waits for the answers.
    """
    make: Callable[[Any], Any] = dynamic.create_pure_python_type_model
    base: Any = BaseDoc
    describe: Callable[..., dict[str, Any]] = base.schema.__func__
    described = cache(describe)

    def schema(cls: type[BaseDoc], *args: Any, **options: Any) -> dict[str, Any]:
        return describe(cls, *args, **options) if args or options else deepcopy(described(cls))

    dynamic.create_pure_python_type_model = cache(make)
    base.schema = classmethod(schema)
