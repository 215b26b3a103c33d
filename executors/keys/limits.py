"""The limits of a key: what its holders may have under way, and how often they may ask. Pure values and their account."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from typing import Final

from executors.errors import VisualSearchError

REQUESTS_PER_SECOND: Final = "requests_per_second"
# A token bucket holds the requests of this many seconds, so that a short burst passes.
_BURST_S: Final = 2.0
_SOON_S: Final = 1


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits; None means no limit.

    Attributes:
        requests_per_second: on average; a burst of two seconds' requests passes.
        documents_in_flight: documents of all requests that are being worked on.
        bytes_in_flight: bytes of their pictures and tensors, as they were sent.
        pixels_in_flight: pixels of their pictures once decoded, by their headers.
    """

    requests_per_second: float | None = None
    documents_in_flight: int | None = None
    bytes_in_flight: int | None = None
    pixels_in_flight: int | None = None

    def over(self, defaults: Limits) -> Limits:
        """Return these limits, with the defaults where there is none."""
        own = {each.name: getattr(self, each.name) for each in fields(self)}
        return Limits(**{name: getattr(defaults, name) if value is None else value for name, value in own.items()})


NO_LIMITS: Final = Limits()


@dataclass(slots=True)
class _Account:
    tokens: float
    seen_at: float
    in_flight: dict[str, int] = field(default_factory=dict)


class LimitAccount:
    """What the holders of each key have under way in this gateway.

    Args:
        clock: monotonic seconds.
        note: is told the key and the limit of each request that is refused.
    """

    def __init__(
        self, clock: Callable[[], float] = time.monotonic, note: Callable[[str, str], None] = lambda _key, _limit: None
    ) -> None:
        self._clock = clock
        self._note = note
        self._accounts: dict[str, _Account] = {}

    def take_request(self, key: str, limits: Limits) -> None:
        """Count a request.

        Raises:
            VisualSearchError: `over_limit`, with the seconds after which the next one passes.
        """
        rate = limits.requests_per_second
        if rate is None:
            return
        most = max(1.0, rate * _BURST_S)
        account = self._account(key, most)
        now = self._clock()
        account.tokens = min(most, account.tokens + (now - account.seen_at) * rate)
        account.seen_at = now
        if account.tokens < 1:
            raise self._over(key, REQUESTS_PER_SECOND, rate, math.ceil((1 - account.tokens) / rate))
        account.tokens -= 1

    @contextmanager
    def holding(self, key: str, limits: Limits, amounts: Mapping[str, int]) -> Iterator[None]:
        """Hold amounts while a request is worked on. One that is larger than its limit passes when nothing else is under
        way.

        Args:
            amounts: by the name of the limit.

        Raises:
            VisualSearchError: `over_limit`.
        """
        account = self._account(key, 1.0)
        for name, amount in amounts.items():
            limit, held = getattr(limits, name), account.in_flight.get(name, 0)
            if limit is not None and held and held + amount > limit:
                raise self._over(key, name, limit, _SOON_S)
        for name, amount in amounts.items():
            account.in_flight[name] = account.in_flight.get(name, 0) + amount
        try:
            yield
        finally:
            for name, amount in amounts.items():
                account.in_flight[name] -= amount

    def _account(self, key: str, tokens: float) -> _Account:
        return self._accounts.setdefault(key, _Account(tokens, self._clock()))

    def _over(self, key: str, name: str, limit: float, retry_after_s: int) -> VisualSearchError:
        self._note(key, name)
        message = f"the key {key!r} is over its limit {name} ({limit:g}); try again in {retry_after_s} s"
        return VisualSearchError("over_limit", message, limit=name, most=limit, retry_after_s=retry_after_s)
