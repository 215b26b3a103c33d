"""The type of a picture in memory."""

from typing import Any, TypeAlias

from numpy.typing import NDArray

# H x W x 3 uint8 RGB unless a docstring says otherwise. (The type says less than that because OpenCV's own does.)
Pixels: TypeAlias = NDArray[Any]
