from __future__ import annotations

import asyncio
import hashlib
import os
import threading
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from executors.cli.index import loading, sender
from executors.cli.index.files import PictureFile, scan_folders
from executors.cli.index.sender import FileSender
from executors.cli.index.state import FileResult, IndexOptions, IndexOutcome
from executors.cli.journal import Journal
from executors.client import VisualSearchClient
from tests.support.flows.wire_service import Fault, WireService

MakeFiles = Callable[..., Path]
Send = Callable[..., IndexOutcome]
NAMES = [f"{n:03}.jpg" for n in range(100)]


def counts(outcome: IndexOutcome) -> dict[str, int]:
    return {name: count for name, count in outcome.counts.items() if count}


def test_every_file_is_sent_once_and_told_once(service: WireService, make_files: MakeFiles, send: Send) -> None:
    results: list[FileResult] = []
    folder = make_files(*NAMES, "sub/ä b.png")
    outcome = send(folder, results=results, tags={"album": "x"}, collection="c")
    assert counts(outcome) == {"created": 101}
    assert outcome.unsent == 0
    assert sorted(service.sent_ids()) == sorted([*NAMES, "sub/ä b.png"])
    assert sorted(each.id for each in results) == sorted(service.sent_ids())
    stored = service.documents["c", "sub/ä b.png"]
    assert (stored["blob"], stored["uri"], stored["tags"]) == (
        "content of sub/ä b.png".encode(),
        "sub/ä b.png",
        {"album": "x"},
    )


def test_several_requests_are_in_flight_and_not_more_than_asked_for(
    service: WireService, make_files: MakeFiles, send: Send
) -> None:
    service.delay_s = 0.05
    send(make_files(*NAMES), requests=3)
    assert service.most_in_flight == 3
    assert all(len(documents) <= sender.GROUP_FILES for _, documents, _ in service.requests)


def test_a_second_run_sends_nothing(service: WireService, make_files: MakeFiles, send: Send) -> None:
    folder = make_files(*NAMES)
    send(folder)
    service.requests.clear()
    assert counts(send(folder)) == {"skipped": 100}
    assert service.sent_ids() == []


def test_without_resume_everything_is_sent_again(service: WireService, make_files: MakeFiles, send: Send) -> None:
    folder = make_files(*NAMES)
    send(folder)
    assert counts(send(folder, resume=False)) == {"unchanged": 100}


def test_changed_files_are_sent_again(service: WireService, make_files: MakeFiles, send: Send) -> None:
    folder = make_files("same.jpg", "longer.jpg", "touched.jpg")
    send(folder)
    service.requests.clear()
    (folder / "longer.jpg").write_bytes(b"another, longer content")
    os.utime(folder / "touched.jpg", ns=(1, 1))
    assert counts(send(folder)) == {"skipped": 1, "replaced": 1, "unchanged": 1}
    assert sorted(service.sent_ids()) == ["longer.jpg", "touched.jpg"]


def test_other_tags_send_the_files_again(service: WireService, make_files: MakeFiles, send: Send) -> None:
    folder = make_files("a.jpg")
    send(folder)
    assert counts(send(folder, tags={"a": 1})) == {"replaced": 1}
    assert counts(send(folder, tags={"a": 1})) == {"skipped": 1}


def test_an_index_that_was_begun_anew_gets_everything_again(
    service: WireService, make_files: MakeFiles, send: Send
) -> None:
    folder = make_files("a.jpg")
    send(folder)
    service.uuid = "index-2"
    assert counts(send(folder)) == {"unchanged": 1}


def test_a_file_that_fails_is_told_and_tried_again_by_the_next_run(
    service: WireService, make_files: MakeFiles, send: Send
) -> None:
    folder = make_files("a.jpg", "c.jpg", **{"b.jpg": b"bad picture"})
    outcome = send(folder)
    assert counts(outcome) == {"created": 2, "failed": 1}
    assert [(each.id, each.error.code) for each in outcome.failures if each.error] == [("b.jpg", "undecodable_image")]
    service.requests.clear()
    assert counts(send(folder)) == {"skipped": 2, "failed": 1}
    assert service.sent_ids() == ["b.jpg"]


@pytest.mark.parametrize("code", ["malformed_body", "internal"])
def test_a_request_refused_as_a_whole_costs_only_the_file_at_fault(
    service: WireService, make_files: MakeFiles, send: Send, code: str
) -> None:
    service.standing_faults.append(Fault(status=400, code=code, ids=frozenset({"042.jpg"})))
    outcome = send(make_files(*NAMES))
    assert counts(outcome) == {"created": 99, "failed": 1}
    assert [(each.id, each.error.code) for each in outcome.failures if each.error] == [("042.jpg", code)]


def test_answers_lost_on_the_way_cost_nothing(service: WireService, make_files: MakeFiles, send: Send) -> None:
    service.faults.extend([Fault(drop="after"), Fault(drop="before"), Fault(status=503), Fault(status=429)])
    outcome = send(make_files(*NAMES))
    assert sum(counts(outcome).values()) == 100
    assert outcome.counts["failed"] == 0
    assert len(service.documents) == 100


def test_when_the_service_goes_away_the_next_run_sends_the_rest_and_nothing_twice(
    service: WireService, make_files: MakeFiles, send: Send
) -> None:
    folder = make_files(*NAMES)
    service.faults.extend([Fault()] * 3)
    service.faults.extend([Fault(drop="before")] * 100)
    outcome = send(folder)
    assert outcome.service_error is not None
    assert outcome.service_error.code == "unavailable"
    acknowledged = outcome.counts["created"]
    assert acknowledged == 3 * sender.GROUP_FILES
    assert (outcome.counts["failed"], outcome.unsent) == (0, 100 - acknowledged)
    service.faults.clear()
    service.requests.clear()
    assert counts(send(folder)) == {"skipped": acknowledged, "created": 100 - acknowledged}
    assert len(service.sent_ids()) == 100 - acknowledged


def test_a_document_that_no_answer_comes_for_fails_alone(
    service: WireService, make_files: MakeFiles, send: Send
) -> None:
    service.standing_faults.append(Fault(delay_s=5, ids=frozenset({"001.jpg"})))
    outcome = send(make_files(*NAMES[:6]), timeout_s=0.3)
    assert counts(outcome) == {"created": 5, "failed": 1}
    assert [(each.id, each.error.code) for each in outcome.failures if each.error] == [("001.jpg", "deadline_exceeded")]


def test_a_service_that_answers_nothing_in_time_ends_the_run(
    service: WireService, make_files: MakeFiles, send: Send
) -> None:
    service.standing_faults.append(Fault(delay_s=5))
    outcome = send(make_files(*NAMES), timeout_s=0.1, requests=1)
    assert outcome.service_error is not None
    assert outcome.service_error.code == "deadline_exceeded"
    assert len(service.requests) < 8


def test_a_service_that_refuses_to_work_ends_the_run_at_once(
    service: WireService, make_files: MakeFiles, send: Send
) -> None:
    service.standing_faults.append(Fault(status=403, code="forbidden_host"))
    outcome = send(make_files(*NAMES), requests=1)
    assert outcome.service_error is not None
    assert outcome.unsent == 100
    assert len(service.requests) == 1


def test_when_told_to_stop_what_is_in_flight_is_still_acknowledged(
    service: WireService, make_files: MakeFiles, send: Send
) -> None:
    service.delay_s = 0.3
    folder = make_files(*NAMES)
    outcome = send(folder, stop_when=lambda service: len(service.requests) == 2, requests=2)
    assert counts(outcome) == {"created": 32}
    assert outcome.unsent == 68
    assert len(service.documents) == 32
    service.delay_s = 0
    assert counts(send(folder)) == {"skipped": 32, "created": 68}


def test_when_told_to_stop_what_was_only_read_is_not_sent(
    service: WireService, make_files: MakeFiles, send: Send
) -> None:
    reading = threading.Event()

    def slow(blob: bytes) -> bytes:
        reading.set()
        time.sleep(0.05)
        return blob

    outcome = send(make_files(*NAMES), stop_when=lambda _: reading.is_set(), shrink=slow)
    assert service.requests == []
    assert outcome.unsent == 100


def test_what_takes_too_long_is_not_waited_for_when_told_to_stop(
    service: WireService, make_files: MakeFiles, send: Send
) -> None:
    service.delay_s = 30
    outcome = send(make_files(*NAMES), stop_when=lambda service: len(service.requests) > 0, timeout_s=60)
    assert outcome.unsent == 100


def test_by_content_the_same_picture_is_sent_once(service: WireService, make_files: MakeFiles, send: Send) -> None:
    twin = {"a.jpg": b"twin", "sub/b.jpg": b"twin", "c.jpg": b"other"}
    outcome = send(make_files(**twin), id_mode="sha256")
    assert counts(outcome) == {"created": 2, "skipped": 1}
    assert sorted(service.sent_ids()) == sorted(hashlib.sha256(each).hexdigest() for each in (b"twin", b"other"))
    assert {doc["uri"] for doc in service.documents.values()} == {"a.jpg", "c.jpg"}


def test_by_content_a_renamed_file_is_not_sent_again(service: WireService, make_files: MakeFiles, send: Send) -> None:
    folder = make_files("a.jpg", "b.jpg")
    send(folder, id_mode="sha256")
    service.requests.clear()
    (folder / "a.jpg").rename(folder / "z.jpg")
    for _ in range(2):
        assert counts(send(folder, id_mode="sha256")) == {"skipped": 2}
    assert service.sent_ids() == []


def test_a_name_that_is_not_utf8_fails_by_path_and_works_by_content(
    service: WireService, make_files: MakeFiles, send: Send
) -> None:
    folder = make_files("a.jpg")
    Path(os.fsdecode(os.fsencode(folder) + b"/caf\xe9.jpg")).write_bytes(b"x")
    outcome = send(folder)
    assert counts(outcome) == {"created": 1, "failed": 1}
    assert [each.error.code for each in outcome.failures if each.error] == ["invalid_id"]
    assert counts(send(folder, id_mode="sha256")) == {"created": 2}
    assert {doc["uri"] for doc in service.documents.values()} == {"a.jpg", "caf\\udce9.jpg"}


def test_a_file_that_vanished_after_the_folder_was_read_fails_alone(
    service: WireService, make_files: MakeFiles, tmp_path: Path
) -> None:
    folder = make_files("a.jpg", "b.jpg")
    files = scan_folders([str(folder)]).files
    (folder / "a.jpg").unlink()

    async def main() -> IndexOutcome:
        async with VisualSearchClient(service.url) as client:
            return await FileSender(client, IndexOptions(), {}, lambda _: None).send(files, asyncio.Event())

    outcome = asyncio.run(main())
    assert counts(outcome) == {"created": 1, "failed": 1}
    assert [each.error.code for each in outcome.failures if each.error] == ["unreadable_file"]


def test_a_file_that_changes_while_it_is_sent_is_sent_again_by_the_next_run(
    service: WireService, make_files: MakeFiles, send: Send
) -> None:
    folder = make_files("a.jpg")
    service.delay_s = 0.2

    def change(service: WireService) -> bool:
        if service.requests and (folder / "a.jpg").read_bytes() != b"newer":
            (folder / "a.jpg").write_bytes(b"newer")
        return False

    send(folder, stop_when=change)
    assert counts(send(folder)) == {"replaced": 1}
    assert service.documents["images", "a.jpg"]["blob"] == b"newer"


def test_requests_are_bounded_in_bytes(
    service: WireService, make_files: MakeFiles, send: Send, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loading, "REQUEST_BYTES", 10_000)
    contents = {f"{n}.jpg": bytes([n]) * size for n, size in enumerate([4000, 4000, 4000, 25_000, 100, 100])}
    assert counts(send(make_files(**contents))) == {"created": 6}
    sizes = [sum(len(doc["blob"]) for doc in documents) for _, documents, _ in service.requests]
    assert sorted(sizes) == [4000, 8000, 200, 25_000] or sorted(sizes) == [200, 4000, 8000, 25_000]


def test_a_file_too_large_to_be_a_picture_is_not_read(
    service: WireService, make_files: MakeFiles, send: Send, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loading, "MAX_FILE_BYTES", 1000)
    outcome = send(make_files("a.jpg", **{"huge.tif": b"x" * 1001}))
    assert counts(outcome) == {"created": 1, "failed": 1}
    assert [each.error.code for each in outcome.failures if each.error] == ["image_too_large"]


def test_pictures_are_made_smaller_when_asked_and_remembered_by_their_own_size(
    service: WireService, make_files: MakeFiles, send: Send
) -> None:
    folder = make_files("a.jpg", "b.jpg")
    send(folder, shrink=lambda blob: blob[:3])
    assert service.documents["images", "a.jpg"]["blob"] == b"con"
    assert counts(send(folder, shrink=lambda blob: blob[:3])) == {"skipped": 2}


def test_a_journal_that_can_no_longer_be_written_costs_no_document(
    service: WireService, make_files: MakeFiles, send: Send, tmp_path: Path
) -> None:
    folder = make_files(*NAMES)

    broken: list[bool] = []

    def break_journal(service: WireService) -> bool:
        if not broken:
            broken.append(True)
            with closing(Journal(tmp_path / "sent.sqlite")) as journal:
                journal._connection.execute("DROP TABLE sent")
        return False

    service.delay_s = 0.05
    outcome = send(folder, stop_when=break_journal, resume=False)
    assert counts(outcome) == {"created": 100}
    assert outcome.journal_error is not None


@pytest.mark.parametrize(
    ("second", "expected"), [(b"another", {"created": 1, "failed": 1}), (b"same", {"created": 1, "skipped": 1})]
)
def test_another_content_is_no_double_of_a_file_with_its_id(
    service: WireService, second: bytes, expected: dict[str, int]
) -> None:
    files = [PictureFile("", "a.jpg", 4, 1, content) for content in (b"same", second)]

    async def main() -> IndexOutcome:
        async with VisualSearchClient(service.url) as client:
            return await FileSender(client, IndexOptions(), {}, lambda _: None).send(files, asyncio.Event())

    outcome = asyncio.run(main())
    assert counts(outcome) == expected
    assert {each.error.code for each in outcome.failures if each.error} <= {"id_taken"}
    assert service.documents["images", "a.jpg"]["blob"] == b"same"
