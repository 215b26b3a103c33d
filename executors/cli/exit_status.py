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

# The service can't be reached, or refuses every request; another document would not be accepted either.
_UNAVAILABLE_CODES: Final[frozenset[ErrorCode]] = frozenset(
    {
        *("overloaded", "deadline_exceeded", "unauthenticated", "forbidden_host", "forbidden_origin"),
        *("unknown_endpoint", "method_not_allowed"),
    }
)
# An argument or a setting is wrong; the service may be the one that says so.
_USAGE_CODES: Final[frozenset[ErrorCode]] = frozenset({"invalid_parameter", "invalid_filter", "invalid_setting"})


def is_unavailable(error: VisualSearchError) -> bool:
    """Whether the service is the cause of an error, and not the request."""
    return error.status == 503 or error.code in _UNAVAILABLE_CODES


def status_of(error: VisualSearchError) -> int:
    """The exit status of a command that ended with this error."""
    if error.code in _USAGE_CODES:
        return USAGE
    return UNAVAILABLE if is_unavailable(error) else SOME_FAILED
