"""Helpers of the tests that build models: entries, and changes to them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from executors.models.repository import CONFIG_FILE
from tests.support.models.models import TINY, tiny_config, tiny_model

DEFAULT = "efficientnet-lite0"
# Vectors of an index are bound to it. A change here needs a higher `revision` in the model's config.pbtxt, and a word in
# the release notes: every index that was made before refuses the new model.
MODEL_ID = "efficientnet-lite0@ed7cae0d016a9a79"
ROOT = Path(__file__).resolve().parents[3]


def run_python(program: str, folder: Path) -> subprocess.Popen[str]:
    """Run a program in a process of its own; its one argument is `folder`."""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", program, str(folder)]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)


def visible(folder: Path) -> list[str]:
    """Return the contents of a repository, without the locks."""
    return sorted(path.name for path in folder.iterdir() if not path.name.endswith(".lock"))


def add_version(entry: Path, number: int, model: bytes) -> None:
    """Put another version beside the first."""
    (entry / str(number)).mkdir()
    (entry / str(number) / "model.onnx").write_bytes(model)


def write_own(models_dir: Path, model: bytes | None = None, config: str | None = None, name: str = TINY) -> Path:
    """An entry as a person writes it: a configuration, and a file."""
    entry = models_dir / name
    entry.mkdir(parents=True)
    (entry / CONFIG_FILE).write_text(config or tiny_config(name))
    add_version(entry, 1, tiny_model() if model is None else model)
    return entry


def cut_model(entry: Path) -> None:
    """Damage the model's file."""
    with (entry / "1" / "model.onnx").open("r+b") as file:
        file.truncate(1_000_000)


def older_revision(entry: Path) -> None:
    """Make the entry one that an older release built."""
    text = (entry / CONFIG_FILE).read_text()
    (entry / CONFIG_FILE).write_text(
        text.replace('"revision" value { string_value: "2"', '"revision" value { string_value: "1"')
    )
