"""The settings of the index on OpenSearch: what contradicts itself is refused, and secrets are shown nowhere."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from executors.errors import VisualSearchError
from executors.index.stores import connection_options, make_store
from executors.settings import read_settings, with_flow_store

ON = {"VS_STORE": "opensearch", "VS_OPENSEARCH_URLS": "https://one:9200, https://two:9200/"}


def given(monkeypatch: pytest.MonkeyPatch, **variables: str) -> None:
    for name, value in {**ON, **variables}.items():
        monkeypatch.setenv(name, value)


@pytest.mark.parametrize(
    ("variables", "named"),
    [
        ({"VS_OPENSEARCH_URLS": ""}, "VS_OPENSEARCH_URLS"),
        ({"VS_OPENSEARCH_URLS": "one:9200"}, "VS_OPENSEARCH_URLS"),
        ({"VS_OPENSEARCH_URLS": "http://one:9200,https://two:9200"}, "VS_OPENSEARCH_URLS"),
        ({"VS_OPENSEARCH_URLS": "https://user:secret@one:9200"}, "VS_OPENSEARCH_URLS"),
        ({"VS_OPENSEARCH_PREFIX": "Photos"}, "VS_OPENSEARCH_PREFIX"),
        ({"VS_OPENSEARCH_PREFIX": "_photos"}, "VS_OPENSEARCH_PREFIX"),
        ({"VS_OPENSEARCH_PASSWORD": "a", "VS_OPENSEARCH_PASSWORD_FILE": "b"}, "one of them"),
        ({"VS_OPENSEARCH_API_KEY": "a", "VS_OPENSEARCH_USER": "b"}, "one way to sign in"),
        ({"VS_OPENSEARCH_PRECISION": "half"}, "VS_OPENSEARCH_PRECISION"),
        ({"VS_OPENSEARCH_PRECISION": "byte", "VS_OPENSEARCH_ENGINE": "faiss"}, "VS_OPENSEARCH_PRECISION"),
    ],
)
def test_what_can_not_be_is_refused_by_name(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], named: str
) -> None:
    given(monkeypatch, **variables)
    with pytest.raises(VisualSearchError) as refused:
        read_settings()
    assert refused.value.code == "invalid_setting"
    assert named in refused.value.message
    assert "secret" not in refused.value.message


def test_hosts_and_secrets_are_read(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "password").write_text("hidden 4711\n")
    given(monkeypatch, VS_OPENSEARCH_USER="me", VS_OPENSEARCH_PASSWORD_FILE=str(tmp_path / "password"))
    options = connection_options(read_settings())
    assert options.urls == ("https://one:9200", "https://two:9200")
    assert (options.user, options.password, options.api_key) == ("me", "hidden 4711", None)
    assert "4711" not in f"{options!r} {read_settings()!r}"


@pytest.mark.parametrize("file", ["/dev/zero", "pipe", "missing", "huge"])
def test_a_file_that_holds_no_secret_is_refused_at_once(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, file: str
) -> None:
    path = tmp_path / file
    if file == "pipe":
        os.mkfifo(path)
    elif file == "huge":
        with path.open("wb") as stream:
            stream.truncate(3 << 30)
    given(monkeypatch, VS_OPENSEARCH_USER="me", VS_OPENSEARCH_PASSWORD_FILE=str(path))
    with pytest.raises(VisualSearchError) as refused:
        connection_options(read_settings())
    assert refused.value.code == "unreadable_file"
    assert str(path) in refused.value.message


def test_a_secret_of_the_environment_is_shown_nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    given(monkeypatch, VS_OPENSEARCH_API_KEY="hidden 4711")
    assert connection_options(read_settings()).api_key == "hidden 4711"
    assert "4711" not in f"{connection_options(read_settings())!r} {read_settings()!r}"


@pytest.mark.parametrize("name", ["VS_OPENSEARCH_PASSWORD_FILE", "VS_OPENSEARCH_API_KEY_FILE", "VS_OPENSEARCH_CA"])
def test_a_file_that_is_not_there_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str) -> None:
    given(monkeypatch, **{name: str(tmp_path / "nothing")})
    with pytest.raises(VisualSearchError) as refused:
        connection_options(read_settings())
    assert refused.value.code == "unreadable_file"


def test_shards_of_the_flow_are_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    given(monkeypatch)
    with pytest.raises(VisualSearchError, match="OpenSearch shards by itself"):
        make_store(read_settings(), tmp_path, 2)
    assert make_store(read_settings(), tmp_path, 1).identity is None


def test_the_environment_wins_over_the_flow_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("VS_STORE", raising=False)
    monkeypatch.delenv("VS_OPENSEARCH_URLS", raising=False)
    assert with_flow_store(read_settings(), None).store == "embedded"
    with pytest.raises(VisualSearchError, match="VS_OPENSEARCH_URLS"):
        with_flow_store(read_settings(), "opensearch")
    with pytest.raises(VisualSearchError, match="not one of embedded, opensearch"):
        with_flow_store(read_settings(), "elsewhere")
    monkeypatch.setenv("VS_OPENSEARCH_URLS", "http://one:9200")
    assert with_flow_store(read_settings(), "opensearch").store == "opensearch"
    monkeypatch.setenv("VS_STORE", "embedded")
    assert with_flow_store(read_settings(), "opensearch").store == "embedded"
