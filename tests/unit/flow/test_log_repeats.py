from __future__ import annotations

import logging
from collections.abc import Callable, Iterator

import pytest

from executors.flow import log_repeats
from executors.flow.log_repeats import LINES_A_SECOND, RepeatLimit


class Bench:
    """A logger behind a limit with a clock of its own."""

    def __init__(self) -> None:
        self.now = 0.0
        self.due: list[tuple[float, Callable[[], None]]] = []
        self.lines: list[str] = []
        self.limit = RepeatLimit(clock=lambda: self.now, later=lambda s, tell: self.due.append((self.now + s, tell)))
        self.logger = logging.getLogger("test.repeats")

    def pass_time(self, seconds: float) -> None:
        self.now += seconds
        over = [tell for when, tell in self.due if when <= self.now]
        self.due = [each for each in self.due if each[0] > self.now]
        for tell in over:
            tell()


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    monkeypatch.setattr(logging.Logger, "callHandlers", logging.Logger.callHandlers)
    made = Bench()
    handler = logging.Handler()
    handler.emit = lambda record: made.lines.append(record.getMessage())  # type: ignore[method-assign]
    made.logger.addHandler(handler)
    made.logger.propagate = False
    log_repeats.limit_repeats(made.limit)
    yield made
    made.logger.removeHandler(handler)
    made.logger.propagate = True


def test_a_line_that_repeats_is_counted_instead_of_written(bench: Bench) -> None:
    for number in range(2_700):
        bench.logger.error(f"stage 'embed' does not answer: request {number}")
    assert len(bench.lines) == LINES_A_SECOND
    bench.pass_time(1.0)
    assert bench.lines[-1].endswith(f"(and {2_700 - LINES_A_SECOND} more such lines within a second)")
    assert len(bench.lines) == LINES_A_SECOND + 1


def test_other_lines_pass_and_after_a_second_the_same_does(bench: Bench) -> None:
    for _ in range(10):
        bench.logger.error("one")
        bench.logger.warning("one")
        bench.logger.error("another")
    assert len(bench.lines) == 3 * LINES_A_SECOND
    bench.pass_time(1.0)
    bench.lines.clear()
    bench.logger.error("one")
    assert bench.lines == ["one"]


def test_what_never_repeats_costs_no_memory(bench: Bench) -> None:
    for number in range(5_000):
        bench.logger.error("name " + "".join("ghijklmnop"[int(digit)] for digit in str(number)))
        bench.now += 0.01
    assert len(bench.lines) == 5_000
    assert len(bench.limit._seen) <= 1_002


def test_a_line_whose_arguments_do_not_fit_is_left_to_its_handlers() -> None:
    record = logging.LogRecord("test", logging.ERROR, "", 0, "100%d of %s", ("a",), None)
    assert RepeatLimit().admits(record)


def test_a_line_that_says_nothing_is_not_written(bench: Bench) -> None:
    for text in ("", " \n"):
        assert not bench.limit.admits(logging.LogRecord("a", logging.ERROR, __file__, 1, text, (), None))
    trace = (ValueError, ValueError("x"), None)
    assert bench.limit.admits(logging.LogRecord("a", logging.ERROR, __file__, 1, "", (), trace))
