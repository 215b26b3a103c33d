"""Servers that tests need: `VS_REQUIRE=triton,…` names those without which the tests fail rather than skip."""

from __future__ import annotations

import os
from typing import NoReturn

import pytest


def missing(service: str, reason: str) -> NoReturn:
    """Fail where the service is required, else skip."""
    required = [each.strip() for each in os.environ.get("VS_REQUIRE", "").split(",")]
    if service in required:
        pytest.fail(f"{service} is required (VS_REQUIRE) and can't be had: {reason}")
    pytest.skip(f"{service} can't be had: {reason}")
