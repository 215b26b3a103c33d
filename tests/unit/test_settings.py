"""Settings come from the environment, are checked, and never depend on the current folder."""

from pathlib import Path

import pytest

from executors.errors import VisualSearchError
from executors.settings import Settings, read_settings, visible_devices, with_flow_backend


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
