"""Real servers for the tests that need one: set up once a session, or the tests say why they can't run."""

from __future__ import annotations

import os

import pytest

from executors.errors import VisualSearchError
from executors.settings import read_settings
from executors.triton.installation import Installation
from executors.triton.packages import ensure_packages


def missing(service: str, reason: str) -> None:
    """Skip, or fail where `VS_REQUIRE` (names by commas) says that this service has to be there, as CI does."""
    required = os.environ.get("VS_REQUIRE", "").split(",")
    (pytest.fail if service in required else pytest.skip)(f"{service}: {reason}")


@pytest.fixture(scope="session")
def triton_installation() -> Installation:
    """A real Triton from the package index, where the settings have it; the first session downloads about 100 MB."""
    try:
        return ensure_packages(read_settings().triton_dir, "cpu", print)
    except VisualSearchError as error:
        missing("triton", error.message)
        raise
