"""Pictures as clients send them: as the whole body, and as files under names of every kind."""

from __future__ import annotations

import uuid

import pytest
import requests

from tests.support.flows.flow import RunningFlow


@pytest.fixture
def collection() -> str:
    return f"c-{uuid.uuid4().hex[:10]}"


@pytest.mark.parametrize("content_type", ["image/jpeg", "application/octet-stream", "IMAGE/JPEG; charset=binary"])
def test_a_picture_is_a_body(flow: RunningFlow, collection: str, one_picture: bytes, content_type: str) -> None:
    def send(target: str) -> requests.Response:
        headers = {"Content-Type": content_type}
        return requests.post(flow.http_url + target, data=one_picture, headers=headers, timeout=30)

    written = send(f"/index?collection={collection}&id=a%2Fb%20c.jpg&tags=%7B%22n%22:1%7D").json()["data"][0]
    assert (written["id"], written["result"]) == ("a/b c.jpg", "created")
    found = send(f"/search?collection={collection}&limit=1&fields=tags.n&filter=%7B%22n%22:1%7D").json()
    assert [(each["id"], each["tags"]) for each in found["data"][0]["matches"]] == [("a/b c.jpg", {"n": 1})]
    assert len(send("/embed").json()["data"][0]["embedding"]) == 1280
    for target, status, code in (
        (f"/search?collection={collection}&limit=0", 400, "invalid_parameter"),
        (f"/search?collection={collection}&limit=one", 400, "invalid_parameter"),
        (f"/search?collection={collection}&limt=1", 400, "invalid_parameter"),
        ("/get?id=a", 415, "unsupported_media_type"),
    ):
        refused = send(target)
        assert (refused.status_code, refused.json()["error"]["code"]) == (status, code), target
    bad = requests.post(
        f"{flow.http_url}/search", data=b"no picture", headers={"Content-Type": content_type}, timeout=30
    )
    assert (bad.status_code, bad.json()["data"][0]["error"]["code"]) == (415, "unsupported_format")


def test_parameters_may_stand_in_the_query_string_of_any_body(
    flow: RunningFlow, collection: str, one_picture: bytes
) -> None:
    files = [("file", (name, one_picture)) for name in ("a", "b")]
    assert requests.post(f"{flow.http_url}/index?collection={collection}", files=files, timeout=30).status_code == 200
    target = f"{flow.http_url}/search?collection={collection}&limit=1"
    assert len(requests.post(target, files=files[:1], timeout=30).json()["data"][0]["matches"]) == 1
    assert len(requests.post(target, json={"parameters": {"like": "a"}}, timeout=30).json()["data"][0]["matches"]) == 1
    twice = requests.post(target, json={"parameters": {"like": "a", "limit": 2}}, timeout=30)
    assert (twice.status_code, twice.json()["error"]["code"]) == (400, "invalid_parameter")


@pytest.mark.parametrize(
    ("parameters", "name"),
    [
        (b"filename*=UTF-8''na%C3%AFve.jpg", "naïve.jpg"),
        (b"filename=\"=?utf-8?B?bmHDr3ZlLmpwZw==?=\"; filename*=utf-8''na%C3%AFve.jpg", "naïve.jpg"),
        (b'filename="a%22b.jpg"', 'a"b.jpg'),
    ],
)
def test_a_file_has_the_name_that_its_client_meant(
    flow: RunningFlow, collection: str, one_picture: bytes, parameters: bytes, name: str
) -> None:
    body = b"--x\r\nContent-Disposition: form-data; name=file; " + parameters + b"\r\n\r\n" + one_picture
    # A page sends the fields that were left empty, too.
    body += b'\r\n--x\r\nContent-Disposition: form-data; name="ids"\r\n\r\n\r\n--x\r\n'
    body += b'Content-Disposition: form-data; name="file"\r\n\r\n\r\n--x--\r\n'
    headers = {"Content-Type": "multipart/form-data; boundary=x"}
    target = f"{flow.http_url}/index?collection={collection}"
    written = requests.post(target, data=body, headers=headers, timeout=30).json()
    assert [(each["id"], each["result"]) for each in written["data"]] == [(name, "created")]
