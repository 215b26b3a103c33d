"""Names of uploaded files, as the clients there are send them."""

import pytest

from executors.gateway.form_names import file_name


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
