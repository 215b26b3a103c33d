"""The exit statuses of `visual-search`, as its help lists them."""

from __future__ import annotations

from typing import Final

from executors.errors import ErrorCode, VisualSearchError

OK: Final = 0
SOME_FAILED: Final = 1
USAGE: Final = 2
UNAVAILABLE: Final = 3
INTERRUPTED: Final = 130
CLOSED_PIPE: Final = 141

# The service is not there, or refuses whatever it is sent; another document would fare no better.
_UNAVAILABLE_CODES: Final[frozenset[ErrorCode]] = frozenset(
    {"overloaded", "deadline_exceeded", "forbidden_host", "forbidden_origin", "unknown_endpoint", "method_not_allowed"}
)
# What was typed (or set) is at fault; a service may be the one that says so.
_USAGE_CODES: Final[frozenset[ErrorCode]] = frozenset({"invalid_parameter", "invalid_filter", "invalid_setting"})


def is_unavailable(error: VisualSearchError) -> bool:
    """Whether an error of a request as a whole is the service's, not that of what was sent."""
    return error.status == 503 or error.code in _UNAVAILABLE_CODES


def status_of(error: VisualSearchError) -> int:
    """The exit status of a command that ended with this error."""
    if error.code in _USAGE_CODES:
        return USAGE
    return UNAVAILABLE if is_unavailable(error) else SOME_FAILED
