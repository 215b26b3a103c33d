"""Nothing listens for other machines without keys, unless the operator says so."""

from __future__ import annotations

from pathlib import Path

import pytest

from executors.errors import VisualSearchError
from executors.flow.exposure import check_exposure
from executors.keys.key import Key, digest_of
from executors.keys.key_file import add_key
from executors.settings import Settings


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost"])
def test_loopback_needs_no_key(host: str) -> None:
    check_exposure(host, Settings())


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "gateway"])
def test_another_address_needs_keys_or_the_word_of_the_operator(host: str, tmp_path: Path) -> None:
    with pytest.raises(VisualSearchError, match=r"VS_HOST: .*VS_KEYS_FILE.*VS_INSECURE=on") as caught:
        check_exposure(host, Settings())
    assert caught.value.code == "invalid_setting"
    check_exposure(host, Settings(insecure="on"))
    add_key(tmp_path / "keys.toml", Key("shop", digest_of("secret"), "search"))
    check_exposure(host, Settings(keys_file=tmp_path / "keys.toml"))


def test_a_file_of_keys_that_is_missing_invalid_or_empty_stops_the_start(tmp_path: Path) -> None:
    file = tmp_path / "keys.toml"
    for content in (None, "[keys.shop]", "# none yet"):
        if content is not None:
            file.write_text(content)
        with pytest.raises(VisualSearchError, match="VS_KEYS_FILE: "):
            check_exposure("127.0.0.1", Settings(keys_file=file))
