"""Real servers for the tests that need one: set up once a session, or the tests say why they can't run."""

from __future__ import annotations

import pytest

from executors.errors import VisualSearchError
from executors.settings import read_settings
from executors.triton.installation import Installation
from executors.triton.packages import ensure_packages
from tests.support.services import missing


@pytest.fixture(scope="session")
def triton_installation() -> Installation:
    """A real Triton from the package index, where the settings have it; the first session downloads about 100 MB."""
    try:
        return ensure_packages(read_settings().triton_dir, "cpu", print)
    except VisualSearchError as error:
        missing("triton", error.message)
