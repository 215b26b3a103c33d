"""The journal is compared with the index; doubles share the result of the file that was sent."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest

from executors.cli.index import sender
from executors.cli.index.absent_ids import IDS_A_REQUEST
from executors.cli.index.state import FileResult, IndexOutcome
from tests.support.flows.wire_service import Fault, WireService

MakeFiles = Callable[..., Path]
Send = Callable[..., IndexOutcome]
MANY = [f"{n:04}.jpg" for n in range(1200)]


def gets(service: WireService) -> list[int]:
    return [len(documents) for path, documents, _ in service.requests if path == "/get"]


@pytest.mark.parametrize("id_mode", ["path", "sha256"])
def test_what_was_deleted_by_another_client_is_sent_again_and_nothing_else(
    service: WireService, make_files: MakeFiles, send: Send, id_mode: str
) -> None:
    folder = make_files("a.jpg", "b.jpg", "c.jpg")
    send(folder, id_mode=id_mode, collection="c")
    lost = next(key for key, doc in service.documents.items() if doc["uri"] == "b.jpg")
    del service.documents[lost]
    service.requests.clear()
    assert dict(send(folder, id_mode=id_mode, collection="c").counts) == {"skipped": 2, "created": 1}
    assert service.sent_ids() == [lost[1]]
    assert dict(send(folder, id_mode=id_mode, collection="c").counts) == {"skipped": 3}


def test_a_deleted_document_of_two_files_is_sent_once(service: WireService, make_files: MakeFiles, send: Send) -> None:
    folder = make_files(**{"a.jpg": b"twin", "b.jpg": b"twin"})
    send(folder, id_mode="sha256")
    service.documents.clear()
    service.requests.clear()
    assert dict(send(folder, id_mode="sha256").counts) == {"created": 1, "skipped": 1}
    assert len(service.sent_ids()) == 1


def test_a_deleted_document_whose_file_was_renamed_is_sent_again(
    service: WireService, make_files: MakeFiles, send: Send
) -> None:
    folder = make_files("a.jpg")
    send(folder, id_mode="sha256")
    service.documents.clear()
    (folder / "a.jpg").rename(folder / "z.jpg")
    assert dict(send(folder, id_mode="sha256").counts) == {"created": 1}


def test_the_index_is_asked_for_many_ids_at_a_time_and_only_for_known_ones(
    service: WireService, make_files: MakeFiles, send: Send
) -> None:
    folder = make_files(*MANY)
    send(folder)
    assert gets(service) == []
    service.requests.clear()
    assert dict(send(folder).counts) == {"skipped": 1200}
    assert sorted(gets(service)) == [200, IDS_A_REQUEST, IDS_A_REQUEST]
    assert len(service.requests) == 3


def test_a_service_that_takes_fewer_ids_is_asked_for_fewer(
    service: WireService, make_files: MakeFiles, send: Send
) -> None:
    folder = make_files(*MANY[:40])
    send(folder)
    service.requests.clear()
    service.faults.extend([Fault(status=400, code="invalid_parameter")] * 2)
    assert dict(send(folder).counts) == {"skipped": 40}
    assert gets(service) == [40, 20, 10, 10, 20]
    assert service.sent_ids() == []


def test_when_the_index_cannot_be_asked_nothing_is_told_as_skipped(
    service: WireService, make_files: MakeFiles, send: Send
) -> None:
    folder = make_files("a.jpg", "b.jpg")
    send(folder)
    service.requests.clear()
    service.standing_faults.append(Fault(status=503, code="shard_missing"))
    outcome = send(folder)
    assert outcome.service_error is not None
    assert (outcome.service_error.code, outcome.unsent, dict(outcome.counts)) == ("shard_missing", 2, {})
    assert service.sent_ids() == []


@pytest.mark.parametrize("apart", [1, 3 * sender.GROUP_FILES])
@pytest.mark.parametrize("requests", [1, 4])
def test_a_double_of_a_file_that_fails_fails_with_it_and_is_not_sent(
    service: WireService, make_files: MakeFiles, send: Send, apart: int, requests: int
) -> None:
    names = [f"{n:03}.jpg" for n in range(80)]
    folder = make_files(*names, **{names[0]: b"bad", names[apart]: b"bad"})
    results: list[FileResult] = []
    for _ in range(2):
        results.clear()
        service.requests.clear()
        outcome = send(folder, id_mode="sha256", requests=requests, results=results)
        assert sorted(each.file.name for each in outcome.failures) == [names[0], names[apart]]
        assert {each.error.code for each in outcome.failures if each.error} == {"undecodable_image"}
        assert outcome.counts["failed"] == 2
        assert len(results) == 80
        assert service.sent_ids().count(hashlib.sha256(b"bad").hexdigest()) == 1


def test_a_copy_of_a_file_without_acknowledgement_is_not_reported_as_stored(
    service: WireService, make_files: MakeFiles, send: Send
) -> None:
    folder = make_files(**{"a.jpg": b"twin", "b.jpg": b"twin"})
    service.standing_faults.append(Fault(status=503))
    outcome = send(folder, id_mode="sha256")
    assert (dict(outcome.counts), outcome.unsent) == ({}, 2)
    service.standing_faults.clear()
    assert dict(send(folder, id_mode="sha256").counts) == {"created": 1, "skipped": 1}


def test_a_double_is_remembered_so_that_the_next_run_does_not_read_it(
    service: WireService, make_files: MakeFiles, send: Send
) -> None:
    folder = make_files(**{"a.jpg": b"twin", "b.jpg": b"twin"})
    send(folder, id_mode="sha256")
    read: list[bytes] = []

    def shrink(blob: bytes) -> bytes:
        read.append(blob)
        return blob

    assert dict(send(folder, id_mode="sha256", shrink=shrink).counts) == {"skipped": 2}
    assert read == []
