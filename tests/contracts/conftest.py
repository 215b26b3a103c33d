"""The contracts' tests are in modules that are not test modules; this makes pytest explain their assertions, too."""

from __future__ import annotations

from pathlib import Path

import pytest

_FOLDER = Path(__file__).parent

pytest.register_assert_rewrite(
    *(
        f"tests.{_FOLDER.name}.{file.stem}"
        for file in _FOLDER.glob("*.py")
        if not file.stem.startswith(("test_", "conftest"))
    )
)
