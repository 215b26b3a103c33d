"""A page of another origin can't use a server on its visitor's machine."""

import pytest

from executors.errors import VisualSearchError
from executors.gateway.http.origins import CallerCheck


@pytest.mark.parametrize(
    "host", ["127.0.0.1:8080", "localhost:8080", "localhost", "[::1]:8080", "192.168.1.7:8080", None]
)
def test_own_names_and_addresses_are_served(host: str | None) -> None:
    CallerCheck("127.0.0.1", (), ()).check(host, None)


@pytest.mark.parametrize("host", ["evil.example:8080", "localhost.evil.example", "127.0.0.1.nip.io", "[bad", ""])
def test_a_foreign_name_is_refused(host: str) -> None:
    check = CallerCheck("127.0.0.1", (), ())
    if not host:
        check.check(host, None)
        return
    with pytest.raises(VisualSearchError) as caught:
        check.check(host, None)
    assert (caught.value.code, caught.value.status) == ("forbidden_host", 403)


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://localhost:9999", "file://"])
def test_a_page_of_another_origin_is_refused(origin: str) -> None:
    with pytest.raises(VisualSearchError) as caught:
        CallerCheck("127.0.0.1", (), ()).check("localhost:8080", origin)
    assert caught.value.code == "forbidden_origin"


def test_the_own_page_and_listed_origins_are_served() -> None:
    check = CallerCheck("127.0.0.1", ("search.example",), ("https://shop.example",))
    check.check("localhost:8080", "http://localhost:8080")
    check.check("localhost:8080", "https://shop.example")
    check.check("search.example", "https://search.example")


def test_any_origin_may_be_let_in_but_no_foreign_name() -> None:
    check = CallerCheck("127.0.0.1", (), ("*",))
    check.check("localhost:8080", "null")
    with pytest.raises(VisualSearchError, match="forbidden_host"):
        check.check("evil.example", "https://evil.example")


@pytest.mark.parametrize("host", ["evil.example:8080", "127.0.0.1.nip.io", "localhost"])
def test_any_name_is_served_when_that_was_set(host: str) -> None:
    check = CallerCheck("127.0.0.1", ("*",), ())
    check.check(host, None)
    with pytest.raises(VisualSearchError, match="forbidden_origin"):
        check.check(host, "http://other.example")
