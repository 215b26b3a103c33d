"""The consequences for a flow when one of its processes ends, and their description."""

import pytest

from executors.flow.losses import Part, Process, describe_end, loss_of

GATEWAY = Process("gateway", Part.GATEWAY)
PREPROCESS = Process("preprocess", Part.REPLICA)
EMBED = Process("embed", Part.REPLICA)
HEAD = Process("index", Part.HEAD)
SHARDS = [Process("index", Part.REPLICA, shard=n, is_index=True) for n in range(2)]
FLOW = [GATEWAY, PREPROCESS, EMBED, EMBED, HEAD, *SHARDS]


def without(*gone: Process) -> list[Process]:
    left = list(FLOW)
    for each in gone:
        left.remove(each)
    return left


@pytest.mark.parametrize("gone", [GATEWAY, HEAD])
def test_without_the_gateway_or_the_head_of_the_index_nothing_can_be_answered(gone: Process) -> None:
    assert loss_of(gone, without(gone)).total


def test_without_one_of_several_replicas_everything_goes_on() -> None:
    loss = loss_of(EMBED, without(EMBED))
    assert not loss.total
    assert "other replicas" in loss.text


def test_without_a_stage_before_it_the_index_still_reads() -> None:
    loss = loss_of(EMBED, without(EMBED, EMBED))
    assert not loss.total
    assert "'embed' can't answer" in loss.text


def test_a_missing_shard_leaves_a_part_and_the_last_one_nothing() -> None:
    loss = loss_of(SHARDS[1], without(SHARDS[1]))
    assert not loss.total
    assert "shard 1" in loss.text
    assert loss_of(SHARDS[0], without(*SHARDS)).total


def test_a_flow_without_an_index_of_ours_is_over_with_any_of_its_stages() -> None:
    assert loss_of(PREPROCESS, [GATEWAY]).total


@pytest.mark.parametrize(
    ("code", "told"),
    [
        (-9, "SIGKILL"),
        (-15, "SIGTERM"),
        (3, "exit status 3"),
        (0, "exit status 0"),
        (-200, "signal 200"),
        (None, "ended"),
    ],
)
def test_an_end_is_told_with_its_signal_or_status(code: int | None, told: str) -> None:
    assert told in describe_end(code)
