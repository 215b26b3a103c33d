"""Settings come from the environment, are checked, and never depend on the current folder."""

import os
import re
from pathlib import Path

import pytest

from executors.cli import main
from executors.errors import VisualSearchError
from executors.settings import (
    Settings,
    data_folder,
    read_settings,
    unknown_variables,
    visible_devices,
    with_flow_backend,
)


def test_defaults_are_those_of_the_design(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in Settings.model_fields:
        monkeypatch.delenv(f"VS_{name.upper()}", raising=False)
    chosen = read_settings()
    assert (chosen.host, chosen.http_port, chosen.grpc_port) == ("127.0.0.1", 8080, 54321)
    assert (chosen.max_image_bytes, chosen.max_image_pixels, chosen.max_image_side) == (20_000_000, 50_000_000, 16_384)
    assert (chosen.replicas, chosen.shards) == (2, 2)


def test_folders_are_absolute_whatever_the_current_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("VS_WORKSPACE", raising=False)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert read_settings().workspace == tmp_path / "visual-search" / "workspace"
    monkeypatch.setenv("VS_WORKSPACE", "relative")
    assert read_settings().workspace == tmp_path / "relative"


@pytest.mark.parametrize(
    ("name", "value"),
    [("VS_SHARDS", "0"), ("VS_HTTP_PORT", "eighty"), ("VS_THUMBNAILS", "maybe"), ("VS_EMBED_BACKEND", "magic")],
)
def test_a_bad_value_names_its_variable(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(VisualSearchError) as caught:
        read_settings()
    assert caught.value.code == "invalid_setting"
    assert name in caught.value.message


def test_lists_are_separated_by_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VS_ALLOWED_HOSTS", "a.example, b.example,")
    assert read_settings().allowed_hosts == ("a.example", "b.example")


def test_the_device_of_a_replica_is_what_jina_gave_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "RR")
    assert visible_devices() == "RR"
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    assert visible_devices() == ""


def test_triton_servers_are_checked_before_anything_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VS_TRITON_URLS", "gpu-1:8001, [::1]:8001 ,10.0.0.2:8001")
    assert read_settings().triton_urls == ("gpu-1:8001", "[::1]:8001", "10.0.0.2:8001")
    for wrong in ("http://gpu-1:8001", "gpu-1", "gpu-1:0", "gpu-1:99999", "gpu-1:8001,gpu-1:8001"):
        monkeypatch.setenv("VS_TRITON_URLS", wrong)
        with pytest.raises(VisualSearchError, match="VS_TRITON_URLS"):
            read_settings()


def test_servers_of_ones_own_must_be_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("VS_TRITON_URLS", raising=False)
    monkeypatch.setenv("VS_EMBED_BACKEND", "triton")
    with pytest.raises(VisualSearchError, match="VS_TRITON_URLS"):
        read_settings()


def test_the_environment_wins_over_the_flow_files_backend(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("VS_EMBED_BACKEND", raising=False)
    assert with_flow_backend(read_settings(), None).embed_backend == "onnx"
    assert with_flow_backend(read_settings(), "managed-triton").embed_backend == "managed-triton"
    for wrong in ("triton", "magic"):  # the first one without servers
        with pytest.raises(VisualSearchError):
            with_flow_backend(read_settings(), wrong)
    monkeypatch.setenv("VS_EMBED_BACKEND", "onnx")
    assert with_flow_backend(read_settings(), "managed-triton").embed_backend == "onnx"


@pytest.mark.parametrize(
    ("given", "read"),
    [
        ("*", ("*",)),
        ("https://Shop.example/, http://a:8080", ("https://shop.example", "http://a:8080")),
        ("https://shop.example:443,http://a:80", ("https://shop.example", "http://a")),
        ("http://[::1]:3000", ("http://[::1]:3000",)),
    ],
)
def test_origins_are_read_as_browsers_write_them(
    monkeypatch: pytest.MonkeyPatch, given: str, read: tuple[str, ...]
) -> None:
    monkeypatch.setenv("VS_ALLOWED_ORIGINS", given)
    assert read_settings().allowed_origins == read


@pytest.mark.parametrize(
    "given", ["shop.example", "https://*.example", "https://a/b", "ftp://a", "https://u@a", "null"]
)
def test_an_origin_that_no_browser_sends_is_refused(monkeypatch: pytest.MonkeyPatch, given: str) -> None:
    monkeypatch.setenv("VS_ALLOWED_ORIGINS", given)
    with pytest.raises(VisualSearchError, match="VS_ALLOWED_ORIGINS"):
        read_settings()


BAD = {
    "empty": "",
    "blank": " ",
    "not UTF-8": os.fsdecode(b"\xff\xfe"),
    "too long": "a" * 5000,
    "of nobody": "~nobody-has-this-name/x",
    "negative": "-1",
    "huge": "9" * 20,
    "a path into nothing": "/proc/nothing/x",
    "a file": "/dev/null",
}


@pytest.mark.parametrize("name", [*(f"VS_{each.upper()}" for each in Settings.model_fields), "HOME", "XDG_DATA_HOME"])
def test_whatever_a_variable_is_set_to_a_command_answers_with_a_code(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("VS_HTTP_PORT", "9")
    if name != "XDG_DATA_HOME":
        monkeypatch.delenv("XDG_DATA_HOME", raising=False)
        monkeypatch.setenv("HOME", str(tmp_path))
    for value in BAD.values():
        monkeypatch.setenv(name, value)
        for command in (["status"], ["models", "list"]):
            status = main(command)
            told = capsys.readouterr().err
            assert status in (0, 1, 2, 3), (value, command)
            assert re.fullmatch(r"(error: [a-z_]+: [^\n]+\n)?", told), (value, command, told)
            assert (status == 2) == ("invalid_setting" in told)


@pytest.mark.parametrize("name", ["VS_WORKSPACE", "VS_MODELS_DIR", "VS_TRITON_DIR"])
@pytest.mark.parametrize("value", ["", "~nobody-has-this-name/x", "a" * 300, os.fsdecode(b"\xff")])
def test_a_folder_that_can_not_be_is_refused_by_its_setting(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(VisualSearchError, match=f"{name}: "):
        read_settings()


def test_a_misspelt_setting_is_told_with_the_nearest_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VS_SHARD", "3")
    monkeypatch.setenv("VS_PORTS", "[1, 2]")
    assert unknown_variables() == ["VS_SHARD is not a setting and has no effect; did you mean VS_SHARDS?"]


def test_a_relative_home_is_no_place_for_data(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "here")
    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    with pytest.raises(VisualSearchError, match="HOME is not an absolute path"):
        data_folder()


@pytest.mark.parametrize(
    ("given", "read"),
    [
        ("Shop.example", ("shop.example",)),
        (" a.example , nas, 192.0.2.7,[2001:DB8::1] ", ("a.example", "nas", "192.0.2.7", "2001:db8::1")),
        ("*", ("*",)),
        (" , ", ()),
    ],
)
def test_names_of_hosts_are_read_as_requests_carry_them(
    monkeypatch: pytest.MonkeyPatch, given: str, read: tuple[str, ...]
) -> None:
    monkeypatch.setenv("VS_ALLOWED_HOSTS", given)
    assert read_settings().allowed_hosts == read


@pytest.mark.parametrize(
    "given", ["shop.example:8080", "http://shop.example", "*.example", "a b", "shop/x", "bücher.example"]
)
def test_a_name_that_no_request_carries_is_refused(monkeypatch: pytest.MonkeyPatch, given: str) -> None:
    """It would silently have no effect."""
    monkeypatch.setenv("VS_ALLOWED_HOSTS", given)
    with pytest.raises(VisualSearchError, match="VS_ALLOWED_HOSTS"):
        read_settings()
