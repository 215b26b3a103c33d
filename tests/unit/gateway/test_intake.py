from __future__ import annotations

import asyncio
import gzip
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from starlette.requests import ClientDisconnect, Request
from starlette.types import Message

from executors.errors import VisualSearchError
from executors.gateway import intake as intake_module
from executors.gateway.http.incoming import IncomingBody
from executors.gateway.intake import Intake, IntakeLimits
from tests.support.event_loop import others_have_run


def limits(bodies: int = 4, size: int = 1_000, timeout_s: float = 5.0, rate: int = 1) -> IntakeLimits:
    return IntakeLimits(bodies, size, timeout_s, rate)


class Sender:
    """The other side of a request: what it sends is what the test puts in."""

    def __init__(self, **headers: str) -> None:
        self.pieces: asyncio.Queue[Message] = asyncio.Queue()
        raw = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
        self.request = Request({"type": "http", "method": "POST", "path": "/", "headers": raw}, self.pieces.get)

    def send(self, *pieces: bytes, end: bool = True) -> Sender:
        for piece in pieces:
            self.pieces.put_nowait({"type": "http.request", "body": piece, "more_body": True})
        if end:
            self.pieces.put_nowait({"type": "http.request", "body": b"", "more_body": False})
        return self

    def leave(self) -> None:
        self.pieces.put_nowait({"type": "http.disconnect"})


@asynccontextmanager
async def incoming_body(request: Request, intake: Intake, max_bytes: int, weight: int) -> AsyncIterator[IncomingBody]:
    async with intake.body(weight) as held:
        yield IncomingBody(request, held, max_bytes)


async def read(intake: Intake, sender: Sender, max_bytes: int = 10_000_000) -> bytes:
    async with incoming_body(sender.request, intake, max_bytes, weight=1) as body:
        return await body.read()


async def refused(intake: Intake, sender: Sender, max_bytes: int = 10_000_000) -> VisualSearchError:
    with pytest.raises(VisualSearchError) as found:
        await read(intake, sender, max_bytes)
    return found.value


async def test_a_body_is_read_and_its_memory_given_back() -> None:
    intake = Intake(limits())
    assert await read(intake, Sender().send(b"one ", b"two")) == b"one two"
    assert (intake.size, intake.on_their_way) == (0, 0)


async def test_one_that_says_or_turns_out_to_be_too_large_is_refused() -> None:
    intake = Intake(limits())
    assert (await refused(intake, Sender(content_length="11"), 10)).code == "request_too_large"
    assert (await refused(intake, Sender().send(b"x" * 11), 10)).code == "request_too_large"
    assert intake.size == 0


async def test_one_that_does_not_come_is_given_up() -> None:
    intake = Intake(limits(timeout_s=0.02))
    assert (await refused(intake, Sender().send(b"ten bytes", end=False))).code == "body_timeout"
    assert (intake.size, intake.on_their_way) == (0, 0)


async def test_one_that_comes_too_slowly_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intake_module, "GRACE_S", 0.02)
    error = await refused(Intake(limits(rate=1_000_000)), Sender().send(b"ten bytes", end=False))
    assert error.code == "body_timeout"
    assert "VS_BODY_MIN_RATE" in error.message


async def test_the_slowest_makes_room_for_another() -> None:
    intake = Intake(limits(bodies=2))
    slow = asyncio.create_task(read(intake, Sender().send(b"x", end=False)))
    faster = asyncio.create_task(read(intake, Sender().send(b"x" * 100, end=False)))
    await asyncio.sleep(0)
    assert await read(intake, Sender().send(b"whole")) == b"whole"
    with pytest.raises(VisualSearchError, match="others needed its place"):
        await slow
    assert not faster.done()
    faster.cancel()
    await asyncio.gather(faster, return_exceptions=True)
    assert (intake.size, intake.on_their_way) == (0, 0)


async def test_a_caller_that_leaves_gives_everything_back() -> None:
    intake = Intake(limits())
    sender = Sender().send(b"part", end=False)
    sender.leave()
    with pytest.raises(ClientDisconnect):
        await read(intake, sender)
    assert (intake.size, intake.on_their_way) == (0, 0)


async def test_bodies_wait_for_memory_and_all_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intake_module, "SMALL_BYTES", 10)
    intake = Intake(limits(size=1_000))
    most = 0

    async def request(size: int) -> int:
        nonlocal most
        async with incoming_body(
            Sender().send(*[b"x" * 100] * (size // 100)).request, intake, 10_000, weight=1
        ) as body:
            content = await body.read()
            most = max(most, intake.size)
            await asyncio.sleep(0.001)
            return len(content)

    assert await asyncio.gather(*(request(700) for _ in range(12))) == [700] * 12
    assert most <= 1_000 + 700, "the limit, and the one that always goes on"
    assert intake.size == 0


async def test_a_small_body_finds_room_where_a_large_one_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intake_module, "SMALL_BYTES", 100)
    intake = Intake(limits(size=1_000))
    async with intake.body() as first:
        await first.add(750)
        large = asyncio.create_task(read(intake, Sender().send(b"x" * 200)))
        assert await read(intake, Sender().send(b"x" * 100)) == b"x" * 100
        assert not large.done()
    assert len(await large) == 200


async def test_a_request_that_finds_no_room_in_time_is_told_to_come_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intake_module, "SMALL_BYTES", 0)
    intake = Intake(limits(size=100, timeout_s=0.02))
    async with intake.body() as first:
        await first.add(500)
        error = await refused(intake, Sender().send(b"x" * 50))
        assert (error.code, error.details["retry_after_s"]) == ("overloaded", 2)
        assert intake.size == 500
    assert intake.size == 0


async def test_gzip_is_unpacked_piece_by_piece() -> None:
    intake = Intake(limits(size=100_000_000))
    content = bytes(range(256)) * 20_000
    packed = gzip.compress(content[:1_000_000]) + gzip.compress(content[1_000_000:])
    sender = Sender(content_encoding="gzip").send(*(packed[n : n + 1_000] for n in range(0, len(packed), 1_000)))
    assert await read(intake, sender) == content


async def test_gzip_that_holds_too_much_is_refused_before_it_is_unpacked() -> None:
    bomb = gzip.compress(bytes(20_000_000))
    assert len(bomb) < 100_000
    error = await refused(Intake(limits(size=100_000_000)), Sender(content_encoding="x-gzip").send(bomb), 1_500_000)
    assert error.code == "request_too_large"


@pytest.mark.parametrize(
    "body",
    [b"no gzip", gzip.compress(b"cut off" * 100)[:-12], gzip.compress(b"x") + b"behind"],
    ids=["another thing", "cut off", "more behind"],
)
async def test_gzip_that_is_damaged_is_refused(body: bytes) -> None:
    assert (await refused(Intake(limits()), Sender(content_encoding="gzip").send(body))).code == "malformed_body"


@pytest.mark.parametrize("encoding", ["br", "deflate", "zstd", "gzip, gzip", "gzip, br"])
async def test_other_encodings_are_refused(encoding: str) -> None:
    intake = Intake(limits())
    async with intake.body() as held:
        with pytest.raises(VisualSearchError, match="send gzip or none"):
            IncomingBody(Sender(content_encoding=encoding).request, held, 100)


async def test_an_empty_body_and_identity_are_taken() -> None:
    assert await read(Intake(limits()), Sender(content_encoding="identity").send()) == b""
    assert await read(Intake(limits()), Sender(content_encoding="gzip").send()) == b""


async def test_a_stalled_body_gives_its_memory_to_one_that_waits_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intake_module, "_STALLED_S", 0.05)
    monkeypatch.setattr(intake_module, "_LOOK_S", 0.02)
    monkeypatch.setattr(intake_module, "SMALL_BYTES", 0)
    intake = Intake(limits(size=1_000, timeout_s=60))
    stalled = asyncio.create_task(read(intake, Sender().send(b"x" * 700, end=False)))
    await others_have_run()
    assert await read(intake, Sender().send(b"y" * 700)) == b"y" * 700
    with pytest.raises(VisualSearchError, match="body_timeout"):
        await stalled
    assert intake.size == 0


async def test_what_is_unpacked_does_not_count_as_sent() -> None:
    intake = Intake(limits(size=10_000_000))
    sender = Sender(content_encoding="gzip").send(gzip.compress(bytes(1_000_000)))
    async with incoming_body(sender.request, intake, 10_000_000, weight=1) as body:
        assert await body.read() == bytes(1_000_000)
        assert body.held.arrived < 10_000


async def test_gzip_in_very_many_members_is_refused() -> None:
    """They cost much time for few bytes; what tools write has far fewer."""
    body = gzip.compress(b"") * 20_000
    error = await refused(Intake(limits(size=10_000_000)), Sender(content_encoding="gzip").send(body), 1_500_000)
    assert (error.code, "members" in error.message) == ("malformed_body", True)
    few = gzip.compress(b"ab") * 5_000
    taken = await read(Intake(limits(size=10_000_000)), Sender(content_encoding="gzip").send(few), 1_500_000)
    assert taken == b"ab" * 5_000


async def test_messages_that_are_there_already_wait_for_room_only_as_many_as_memory_may_hold() -> None:
    intake = Intake(limits(size=40_000_000))
    answered: list[str] = []
    go_on = asyncio.Event()

    async def work(size: int) -> None:
        try:
            async with intake.body(weight=2) as held:
                await held.add_whole(size)
                await go_on.wait()
        except VisualSearchError as error:
            answered.append(error.code)
        else:
            answered.append("worked on")

    at_once = [asyncio.create_task(work(14_000_000)) for _ in range(8)]
    await asyncio.sleep(0.01)
    # One is worked on, two wait.
    assert answered == ["overloaded"] * 5
    small = asyncio.create_task(work(1_000_000))
    await asyncio.sleep(0.01)
    assert len(answered) == 5
    go_on.set()
    await asyncio.gather(*at_once, small)
    assert answered[5:] == ["worked on"] * 4
    assert intake.size == 0
