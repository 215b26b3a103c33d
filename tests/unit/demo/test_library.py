from __future__ import annotations

import importlib.util
import socket
from pathlib import Path

import pytest

from executors.demo.changes import read_upright
from executors.demo.library import make_library
from executors.errors import VisualSearchError


def test_about_two_hundred_sound_pictures_without_any_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("the library asked the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    paths = make_library(tmp_path / "photos")
    assert 190 <= len(paths) <= 220
    assert sorted(paths) == sorted(each for each in (tmp_path / "photos").rglob("*") if each.is_file())
    assert {each.suffix for each in paths} == {".jpg", ".png"}
    sizes = [read_upright(path.read_bytes()).shape for path in paths]
    assert all(min(height, width) >= 70 for height, width, _ in sizes)


def test_no_two_pictures_are_the_same(tmp_path: Path) -> None:
    paths = make_library(tmp_path)
    assert len({path.read_bytes() for path in paths}) == len(paths)


def test_made_twice_it_is_the_same(tmp_path: Path) -> None:
    first = {path.name: path.read_bytes() for path in make_library(tmp_path)}
    assert {path.name: path.read_bytes() for path in make_library(tmp_path)} == first


def test_without_scikit_image_the_error_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(VisualSearchError, match=r"visual-search-flows\[demo\]"):
        make_library(tmp_path)
