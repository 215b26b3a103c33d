"""The supervisor's pure parts; with a real server it is tested in tests/services."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from executors.devices import CPU
from executors.errors import VisualSearchError
from executors.triton_server.exit_reasons import describe_end
from executors.triton_server.installation import Installation
from executors.triton_server.log_file import claim_log, tail_of
from executors.triton_server.server import TritonServer


def test_no_two_servers_share_a_log(tmp_path: Path) -> None:
    first, held = claim_log(tmp_path, "embed-0")
    second, other = claim_log(tmp_path, "embed-0")
    assert (first.name, second.name) == ("embed-0.log", "embed-0-2.log")
    os.close(held)
    again, held = claim_log(tmp_path, "embed-0")
    assert again == first
    os.close(held)
    os.close(other)


@pytest.mark.parametrize(
    ("status", "why", "said"),
    [
        (1, "no model", "it ended with status 1: no model"),
        (0, "", "it ended with status 0"),
        (137, "", "it was ended by SIGKILL"),
        (139, "", "it was ended by SIGSEGV"),
        (-9, "", "its guard was ended by SIGKILL"),
        (255, "", "it ended with status 255"),
    ],
)
def test_an_exit_is_described(status: int, why: str, said: str) -> None:
    assert describe_end(status, why) == said


def test_a_server_that_was_given_up_says_so() -> None:
    said = describe_end(137, "sh: 1: stub: not found", given_up=True)
    assert said == "a process that it needs to serve a model ended at its start: sh: 1: stub: not found"


def test_only_what_this_life_of_the_server_wrote_is_looked_at(tmp_path: Path) -> None:
    log = tmp_path / "log"
    assert tail_of(log, 0) == ""
    log.write_text("error: of the last life\n")
    start = log.stat().st_size
    with log.open("a") as stream:
        stream.write("error: of this life\n")
    assert tail_of(log, start) == "error: of this life\n"
    log.write_text("rotated\n")
    assert tail_of(log, start) == "rotated\n"


def test_a_server_without_its_program_is_down_with_a_reason_and_can_be_stopped(tmp_path: Path) -> None:
    server = TritonServer(
        Installation(tmp_path / "nothing", "cpu"),
        models_dir=tmp_path,
        models=["lite"],
        device=CPU,
        threads=1,
        logs_dir=tmp_path / "logs",
        name="embed-0",
    )
    failure = server.failure()
    assert failure is not None
    assert "was not started" in failure.message
    server.start()
    while server.failure() is None:
        pass
    failure = server.failure()
    assert failure is not None
    assert failure.code == "triton_failed"
    assert "can't be started: No such file or directory" in failure.message
    server.stop()
    server.stop()
    status = server.status()
    assert status["pid"] is None
    assert status["last_exit"]


def test_a_server_that_fails_again_and_again_is_restarted_ever_more_slowly(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = TritonServer(
        Installation(tmp_path / "nothing", "cpu"),
        models_dir=tmp_path,
        models=["lite"],
        device=CPU,
        threads=1,
        logs_dir=tmp_path / "logs",
        name="embed-0",
    )
    pauses: list[float] = []
    enough = threading.Event()

    def pause(self: TritonServer, seconds: float) -> bool:
        pauses.append(seconds)
        if len(pauses) == 8:
            enough.set()
        return enough.is_set()

    monkeypatch.setattr(TritonServer, "_sleep", pause)
    server.start()
    assert enough.wait(30)
    server.stop()
    assert pauses == [0.5, 1, 2, 4, 8, 16, 30, 30]
    assert server.status()["restarts"] == 7


def test_logs_that_cannot_be_written_are_a_coded_error(tmp_path: Path) -> None:
    (tmp_path / "logs").touch()
    server = TritonServer(
        Installation(tmp_path, "cpu"),
        models_dir=tmp_path,
        models=[],
        device=CPU,
        threads=1,
        logs_dir=tmp_path / "logs",
        name="x",
    )
    with pytest.raises(VisualSearchError, match="can't be started") as caught:
        server.start()
    assert caught.value.code == "triton_failed"
    server.stop()
