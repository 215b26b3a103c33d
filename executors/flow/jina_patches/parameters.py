"""Checks the parameters of Jina's clients before a request begins, when the caller can still catch an error.

Jina converts them in the middle of a gRPC call. A value that it can't convert (`np.int64(3)`, text that is not Unicode)
ends the call with `asyncio.CancelledError`, a BaseException that ends the caller's program. All other values are sent; the
service answers invalid ones with its own error codes.
"""

from __future__ import annotations

import sys
from typing import Any

from pydantic import BaseModel

from executors.errors import VisualSearchError
from executors.parameter_values import plain_parameters


def check_parameters() -> None:
    """Make Jina's clients in this process accept numpy's values, and raise ValueError for a value that can't be sent.

    If Jina was not imported yet, it does nothing, and does not import it.
    """
    module = sys.modules.get("jina.clients.base")
    if module is None or hasattr(module.BaseClient, "_get_unchecked_requests"):
        return
    unchecked = module.BaseClient._get_requests

    def checked(self: Any, inputs: Any, **options: Any) -> Any:
        given = options.get("parameters")
        if given:
            try:
                # Jina also accepts a pydantic model.
                plain = plain_parameters(dict(given) if isinstance(given, BaseModel) else given, finite=False)
            except VisualSearchError as error:
                raise ValueError(error.message) from None
            options["parameters"] = plain
        return unchecked(self, inputs=inputs, **options)

    module.BaseClient._get_unchecked_requests = unchecked
    module.BaseClient._get_requests = checked
