"""Names of uploaded files, as the clients there are send them, and what else a form holds."""

from collections.abc import AsyncGenerator

import pytest
from starlette.datastructures import Headers
from starlette.formparsers import MultiPartException

from executors.gateway.http.form_names import FormParser, file_name


@pytest.mark.parametrize(
    ("parameters", "name"),
    [
        ('filename="cat.jpg"', "cat.jpg"),
        ("filename=cat.jpg", "cat.jpg"),
        ("filename*=UTF-8''na%C3%AFve.jpg", "naïve.jpg"),
        ("filename*=utf-8'en'%e2%82%ac%20rates.jpg", "€ rates.jpg"),
        ("filename*=ISO-8859-1''%A3.jpg", "£.jpg"),
        ("filename*=\"UTF-8''na%C3%AFve.jpg\"", "naïve.jpg"),
        ("FileName*=UTF-8''a%3Bb.jpg", "a;b.jpg"),
        # .NET's HttpClient sends both
        ("filename=\"=?utf-8?B?bmHDr3ZlLmpwZw==?=\"; filename*=utf-8''na%C3%AFve.jpg", "naïve.jpg"),
        ('filename="=?utf-8?B?bmHDr3ZlLmpwZw==?="', "naïve.jpg"),
        ('filename="=?utf-8?Q?na=C3=AFve.jpg?="', "naïve.jpg"),
        ('filename="=?nope?B?bmHDr3ZlLmpwZw==?="', "=?nope?B?bmHDr3ZlLmpwZw==?="),
        ("filename*=UTF-8''a.jpg; filename=\"b.jpg\"", "a.jpg"),
        ("filename=\"b.jpg\"; filename*=UTF-8''%FF.jpg", "b.jpg"),
        ("filename=\"b.jpg\"; filename*=nope''a.jpg", "b.jpg"),
        ('filename="b.jpg"; filename*=a.jpg', "b.jpg"),
        ('filename="a\\"b.jpg"', 'a"b.jpg'),
        ('filename="a\\\\b.jpg"', "a\\b.jpg"),
        ('filename="a%22b%0D%0Ac.jpg"', 'a"b\r\nc.jpg'),
        ('filename="100%25.jpg"', "100%25.jpg"),
        ('filename="C:\\photos\\cat.jpg"', "cat.jpg"),
        ('filename="\\\\server\\share\\cat.jpg"', "cat.jpg"),
        ('filename="holiday; beach.jpg"', "holiday; beach.jpg"),
        ('filename="x; filename=y"', "x; filename=y"),
        ('filename="2024/cat.jpg"', "2024/cat.jpg"),
        ('filename=""', ""),
        ("x=1", None),
    ],
)
def test_the_name_of_a_file(parameters: str, name: str | None) -> None:
    assert file_name(f'form-data; name="file"; {parameters}'.encode()) == name


def test_bytes_that_are_not_utf8_are_latin1() -> None:
    assert file_name('form-data; name="file"; filename="naïve.jpg"'.encode()) == "naïve.jpg"
    assert file_name('form-data; name="file"; filename="naïve.jpg"'.encode("latin-1")) == "naïve.jpg"


@pytest.mark.parametrize(
    ("parameters", "name"),
    [
        # charsets whose texts may be no Unicode
        ("filename*=unicode_escape''%5Cud800; filename=\"b.jpg\"", "b.jpg"),
        ('filename="=?unicode_escape?Q?=5Cud800?="', "=?unicode_escape?Q?=5Cud800?="),
        # a long name, as mail programs divide it
        ('filename="=?utf-8?Q?na=C3=AF?= =?utf-8?Q?ve.jpg?="', "naïve.jpg"),
        ('filename="=?utf-8?B?bmHDr3Y=?=  =?utf-8?B?ZS5qcGc=?="', "naïve.jpg"),
        ('filename="=?utf-8?B?bmHDr3Y=?= and more"', "=?utf-8?B?bmHDr3Y=?= and more"),
        ('filename="=?utf-8?B??="', "=?utf-8?B??="),
    ],
)
def test_a_name_is_always_text(parameters: str, name: str) -> None:
    assert file_name(f'form-data; name="file"; {parameters}'.encode()) == name


async def parsed(*parts: bytes, end: bytes = b"--x--\r\n", charset: str = "") -> list[tuple[str, object]]:
    async def stream() -> AsyncGenerator[bytes, None]:
        yield b"".join(b"--x\r\n" + part + b"\r\n" for part in parts) + end

    parser = FormParser(Headers({"content-type": f"multipart/form-data; boundary=x{charset}"}), stream())
    form = await parser.parse()
    assert parser.complete
    items: list[tuple[str, object]] = list(form.multi_items())
    await form.close()
    return items


def part(name: str, value: bytes, more: str = "") -> bytes:
    return f'Content-Disposition: form-data; name="{name}"{more}\r\n\r\n'.encode() + value


@pytest.mark.parametrize("name", ["tags", "ids", "parameters"])
@pytest.mark.parametrize("more", ["", '; filename="b.json"'])
async def test_a_part_that_stands_twice_is_refused(name: str, more: str) -> None:
    with pytest.raises(MultiPartException, match=f"has the part '{name}' twice"):
        await parsed(part(name, b"{}"), part("file", b"", '; filename="a"'), part(name, b"{}", more))
    with pytest.raises(MultiPartException, match=f"has the part '{name}' twice"):
        await parsed(part(name, b"{}", more), part(name, b"{}"))


async def test_files_and_empty_fields_may_stand_often() -> None:
    file = part("file", b"1", '; filename="a"')
    assert len(await parsed(file, file, part("tags", b""), part("tags", b"{}"), part("tags", b""))) == 5


@pytest.mark.parametrize("charset", ["", "; charset=latin-1", "; charset=unicode_escape"])
async def test_texts_are_utf8_whatever_is_said(charset: str) -> None:
    assert await parsed(part("tags", "ä\\ud800".encode()), charset=charset) == [("tags", "ä\\ud800")]
    with pytest.raises(MultiPartException, match="not UTF-8"):
        await parsed(part("tags", b"\xff"), charset=charset)


async def test_a_picture_that_is_sent_as_a_text_is_left_to_its_own_message() -> None:
    assert await parsed(part("file", b"\xff\xd8")) == [("file", "ÿØ")]


async def test_what_follows_the_closing_boundary_does_not_count() -> None:
    assert await parsed(part("tags", b"{}"), end=b"--x--\r\n" + b"epilogue" * 1000) == [("tags", "{}")]
    assert await parsed(part("tags", b"{}"), end=b"--x--") == [("tags", "{}")]
