"""The answers that several writers got about one document, and a check that some order of their requests explains them. Pure.

Each request took effect at one moment between its start and its answer, or the history can't be explained: that is what
linearizable means (Herlihy and Wing, 1990), and the search for the order is that of Wing and Gong (1993). A request whose
answer was an error that leaves it open may have taken effect at any later moment, or never.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

Kind: TypeAlias = Literal["put", "update", "delete", "get"]
# None (no document), or what its last put and its last update since were called.
State: TypeAlias = tuple[str, str] | None
# What an answer was that leaves open whether the request took effect.
OPEN: Final = "open"


@dataclass(frozen=True, slots=True)
class Request:
    """One request as one document saw it.

    Attributes:
        start, end: seconds; between them it took effect.
        writer: which interface, to be told in a failure.
        token: what a put or an update was called.
        answer: the result; of a get the state that it read.
    """

    start: float
    end: float
    writer: str
    kind: Kind
    token: str
    answer: str | State


def explained(history: Sequence[Request]) -> bool:
    """Whether there is an order of the requests, beginning with no document, in which every answer is right."""
    requests = sorted(history, key=lambda each: each.start)
    everything = (1 << len(requests)) - 1
    optional = sum(1 << n for n, each in enumerate(requests) if each.answer == OPEN)
    waiting: list[tuple[int, State]] = [(0, None)]
    seen = set(waiting)
    while waiting:
        done, state = waiting.pop()
        if done | optional == everything:
            return True
        for n in _next(requests, done):
            answer, after = _effect(requests[n], state)
            step = (done | 1 << n, after)
            if requests[n].answer in (answer, OPEN) and step not in seen:
                seen.add(step)
                waiting.append(step)
    return False


def _next(requests: Sequence[Request], done: int) -> list[int]:
    """Those that may be the next one: none of the others had its answer before they began."""
    left = [n for n in range(len(requests)) if not done >> n & 1]
    first_end = min(requests[n].end for n in left if requests[n].answer != OPEN)
    return [n for n in left if requests[n].start <= first_end]


def _effect(request: Request, state: State) -> tuple[str | State, State]:
    """Return the answer of a request, and the state after it."""
    if request.kind == "put":
        return "created" if state is None else "replaced", (request.token, "")
    if request.kind == "delete":
        return "not_found" if state is None else "deleted", None
    if request.kind == "update":
        return ("not_found", None) if state is None else ("updated", (state[0], request.token))
    return state, state
