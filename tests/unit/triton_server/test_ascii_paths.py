"""Plain names for unusual paths."""

from __future__ import annotations

from pathlib import Path

import pytest

from executors.devices import CPU
from executors.triton_server.ascii_paths import ServerPaths, is_plain, server_paths
from executors.triton_server.command import command_line, environment
from executors.triton_server.installation import Installation

FOLDER = Path("/dev/shm/visual-search-triton-1-paths")
PLAIN = Path("/srv/m_1.2/a-b+c")
UNUSUAL = ["/home/Jörg Müller/models", "/日本", "/a b", "/a'b", '/a"b', "/a$HOME", "/a;b", "/a(b)", "/a*", "/a\nb"]


def told(paths: ServerPaths) -> list[str]:
    """All paths that a server is given."""
    command = command_line(
        paths.installation,
        models_dir=paths.models_dir,
        models=["lite"],
        device=CPU,
        grpc_port=1,
        metrics_port=2,
        server_id="embed-0",
        shm_prefix="region-",
    )
    variables = environment(
        paths.installation, device=CPU, threads=1, home=paths.home, library_folders=paths.library_folders
    )
    return [*command, *variables.values()]


@pytest.mark.parametrize("path", UNUSUAL)
def test_a_server_hears_plain_names_only(path: str) -> None:
    paths = server_paths(Installation(Path(path) / "triton", "cpu"), Path(path), FOLDER)
    assert not is_plain(Path(path))
    assert [each for each in told(paths) if path in each] == []
    assert Path(path) in paths.links.values()
    assert all(is_plain(name) for name in [*paths.links, *paths.files])


def test_plain_paths_are_told_as_they_are() -> None:
    installation = Installation(PLAIN / "triton", "cpu")
    paths = server_paths(installation, PLAIN, FOLDER)
    assert (paths.installation, paths.models_dir, paths.home) == (installation, PLAIN, installation.folder)
    assert paths.library_folders == installation.library_folders
    assert not paths.links
    assert not paths.files


def test_an_interpreter_at_an_unusual_place_is_hidden_too(tmp_path: Path) -> None:
    interpreter = tmp_path / "Jörg" / "bin" / "python3.11"
    interpreter.parent.mkdir(parents=True)
    interpreter.touch()
    installation = Installation(tmp_path / "triton", "cpu")
    installation.python.parent.mkdir(parents=True)
    installation.python.symlink_to(interpreter)
    paths = server_paths(installation, PLAIN, FOLDER)
    (home,) = [text for text in paths.files.values() if text]
    assert home == f"home = {FOLDER}/python/bin\n"
    assert paths.links[FOLDER / "python"] == tmp_path / "Jörg"


def test_the_libraries_of_cuda_have_plain_names_too(tmp_path: Path) -> None:
    installation = Installation(tmp_path / "ö", "cuda")
    (installation.site_packages / "nvidia" / "cudnn" / "lib").mkdir(parents=True)
    paths = server_paths(installation, PLAIN, FOLDER)
    folders = paths.library_folders
    assert len(folders) == 3
    assert folders[-1] == paths.installation.site_packages / "nvidia" / "cudnn" / "lib"
