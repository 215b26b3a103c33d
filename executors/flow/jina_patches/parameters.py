"""Parameters of Jina's clients: checked before a request is begun, where an error is still the caller's to catch.

Jina turns them into a message in the middle of a gRPC call. What it can't turn (`np.int64(3)`, text that is not Unicode)
ends that call with `asyncio.CancelledError`: a BaseException, which ends the caller's program. What a message can carry
goes to the service, which has a code for each fault.
"""

from __future__ import annotations

import sys
from typing import Any

from pydantic import BaseModel

from executors.errors import VisualSearchError
from executors.parameter_values import plain_parameters


def check_parameters() -> None:
    """Have the clients of this process take numpy's values, and raise a ValueError for what can't be sent.

    Without Jina there is nothing to do; it is not imported for this.
    """
    module = sys.modules.get("jina.clients.base")
    if module is None or hasattr(module.BaseClient, "_get_unchecked_requests"):
        return
    unchecked = module.BaseClient._get_requests

    def checked(self: Any, inputs: Any, **options: Any) -> Any:
        given = options.get("parameters")
        if given:
            try:
                # A model of pydantic is what Jina takes as well.
                plain = plain_parameters(dict(given) if isinstance(given, BaseModel) else given, finite=False)
            except VisualSearchError as error:
                raise ValueError(error.message) from None
            options["parameters"] = plain
        return unchecked(self, inputs=inputs, **options)

    module.BaseClient._get_unchecked_requests = unchecked
    module.BaseClient._get_requests = checked
