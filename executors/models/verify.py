"""Compares a model's answers with its stored reference, on any backend, for `visual-search models verify`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from executors.errors import VisualSearchError
from executors.models.reference import LEAST_COSINE, least_cosine, read_reference
from executors.models.repository import build_command, check_tower, load_tower, load_towers
from executors.models.run_onnx import Run
from executors.models.spec import ModelSpec, Tower


@dataclass(frozen=True, slots=True)
class TowerReport:
    """The result for one tower.

    Attributes:
        name, version, model_id: of the tower.
        result: `same`; `different`: other weights, or a fault; `no_reference`: there is nothing to compare with.
        rows: how many inputs were compared.
        least_cosine: the smallest cosine between an output and the stored one; None if none could be computed.
        detail: the fault; empty if there is none.
    """

    name: str
    version: int
    model_id: str
    result: Literal["same", "different", "no_reference"]
    rows: int
    least_cosine: float | None
    detail: str


@dataclass(frozen=True, slots=True)
class VerifyReport:
    """The result for a model; `ok` if each of its towers answered as stored."""

    name: str
    towers: tuple[TowerReport, ...]

    @property
    def ok(self) -> bool:
        """Whether every tower was compared, and is the same."""
        return all(tower.result == "same" for tower in self.towers)


def verify_model(models_dir: Path, name: str, run: Run) -> VerifyReport:
    """Run a model's towers on their reference inputs.

    Args:
        models_dir: the repository, whose configurations and references are the expected ones.
        name: a model, `name` or `name:2`; an image model's text tower is run as well.
        run: runs one batch of at most 4 rows, such as the result of `run_onnx.run_in_process` or a client of a server.
            Its errors are raised unchanged.

    Raises:
        VisualSearchError: `model_missing` or `model_invalid` when the entry itself can't be used, also when its files
            are not those that it was built with.
    """
    tower = load_tower(models_dir, name)
    towers = tuple(load_towers(models_dir, name)) if isinstance(tower, ModelSpec) else (tower,)
    for each in towers:
        check_tower(models_dir, each)
    return VerifyReport(name, tuple(_verify_tower(models_dir, each, run) for each in towers))


def _verify_tower(models_dir: Path, tower: Tower, run: Run) -> TowerReport:
    reference = read_reference(models_dir, tower)
    if reference is None:
        detail = f"there is no stored reference; `{build_command(tower.name)}` makes one"
        return TowerReport(tower.name, tower.version, tower.model_id, "no_reference", 0, None, detail)
    rows = len(reference.inputs)
    try:
        cosine = least_cosine(reference, run(tower, reference.inputs))
    except VisualSearchError as error:
        if error.code != "model_mismatch":
            raise
        return TowerReport(tower.name, tower.version, tower.model_id, "different", rows, None, error.message)
    if cosine >= LEAST_COSINE:
        return TowerReport(tower.name, tower.version, tower.model_id, "same", rows, cosine, "")
    detail = f"the least cosine is {cosine:.4f}, expected at least {LEAST_COSINE}: other weights made these vectors"
    return TowerReport(tower.name, tower.version, tower.model_id, "different", rows, cosine, detail)
