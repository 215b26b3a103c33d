"""Base64 in all its spellings, with the size checked first."""

from __future__ import annotations

import base64
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from executors.errors import VisualSearchError
from executors.preprocess.sources import check_size, decode_base64

PICTURE = bytes(range(256)) + b"\xfb\xff\xbf" * 5


def code(text: str, max_bytes: int = 1_000_000) -> str:
    with pytest.raises(VisualSearchError) as caught:
        decode_base64(text, max_bytes)
    return caught.value.code


def spelled(data: bytes) -> list[str]:
    plain = base64.b64encode(data).decode()
    safe = base64.urlsafe_b64encode(data).decode()
    lines = base64.encodebytes(data).decode()
    return [
        plain,
        plain.rstrip("="),
        safe,
        safe.rstrip("="),
        lines,
        lines.replace("\n", "\r\n"),
        f"  {plain}\n",
        f"data:image/jpeg;base64,{plain}",
        f"data:image/png;name=a.png;base64,{plain}",
        f"DATA:image/webp;BASE64,{plain}",
        f"data:;base64,{plain}",
        f" data:image/jpeg;base64, {lines}",
        f"data:image/jpeg;base64,{safe.rstrip('=')}",
    ]


@given(st.binary(min_size=1, max_size=200))
def test_every_spelling_of_base64_is_read(data: bytes) -> None:
    assert [decode_base64(text, 1_000) for text in spelled(data)] == [data] * len(spelled(data))


@pytest.mark.parametrize(
    "text",
    [
        "=",
        "====",
        "A",
        "AAAAA",
        "AA=A",
        "AA===",
        "AA==AA==",
        "hello, world!",
        "https://example.org/cat.jpg",
        "/home/me/cat.jpg?",
        "pâté",
        "AAAA\0AAA",
        "data:",
        "data:image/jpeg;base64",
        "data:image/jpeg,AAAA",
        "data:text/plain;charset=utf-8,AAAA",
        "data:image/jpeg;base64,%FF%D8",
        "data:" + "x" * 5_000 + ";base64,AAAA",
    ],
)
def test_anything_else_is_invalid(text: str) -> None:
    assert code(text) == "invalid_base64"


@pytest.mark.parametrize("text", ["", "   ", "\n", "data:image/jpeg;base64,", "data:image/jpeg;base64, "])
def test_an_empty_picture_is_no_content(text: str) -> None:
    assert code(text) == "no_content"


@given(st.text(max_size=100))
def test_no_text_raises_anything_but_a_coded_error(text: str) -> None:
    try:
        decode_base64(text, 50)
    except VisualSearchError as error:
        assert error.code in ("invalid_base64", "image_too_large", "no_content")  # noqa: PT017 (whether it raises depends on the text)


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 270, 271, 272])
def test_the_limit_is_inclusive_in_every_spelling(size: int) -> None:
    data = PICTURE[:size].ljust(size, b"\xff")
    for text in spelled(data):
        assert decode_base64(text, size) == data
        if size > 1:
            assert code(text, size - 1) == "image_too_large"


def test_the_size_is_checked_before_anything_is_decoded() -> None:
    text = "A" * 40_000_000
    tracemalloc.start()
    with pytest.raises(VisualSearchError) as caught:
        decode_base64(text, 20_000_000)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert caught.value.code == "image_too_large"
    assert caught.value.details == {"bytes": 30_000_000, "limit": 20_000_000}
    assert peak < 1_000_000
    assert code("?" * 40_000_000, 20_000_000) == "image_too_large"


def test_an_encoded_picture_may_have_just_as_many_bytes_as_allowed() -> None:
    check_size(bytes(10), 10)
    with pytest.raises(VisualSearchError) as caught:
        check_size(bytes(11), 10)
    assert caught.value.code == "image_too_large"
    assert caught.value.details == {"bytes": 11, "limit": 10}
