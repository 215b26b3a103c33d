"""The description of the API against a gateway that runs: what is described comes, and nothing else does."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, seed
from hypothesis import settings as hypothesis_settings
from schemathesis.checks import CHECKS

from tests.support.flow import RunningFlow

# Bodies that fit the schema may still be no pictures (400, 415, 422), and there are no keys to leave out.
_NOT_TRIED = {"positive_data_acceptance", "ignored_auth"}
OPERATIONS = [
    f"{method.upper()} {path}"
    for path, methods in {
        "/index": ["post"], "/search": ["post"], "/update": ["post"], "/get": ["post"], "/embed": ["post"],
        "/scroll": ["post"], "/count": ["post"], "/delete": ["post"], "/verify": ["post"], "/reindex": ["post"],
        "/status": ["get"], "/thumbnail": ["get"], "/thumbnail/{collection}/{id}": ["get"], "/collections": ["get"],
        "/collections/{name}": ["get", "put", "delete"],
        "/health/live": ["get"], "/health/ready": ["get"], "/health/full": ["get"],
    }.items()
    for method in methods
]  # fmt: skip


@pytest.fixture(scope="module")
def schema(flow: RunningFlow) -> Any:
    return schemathesis.openapi.from_url(f"{flow.http_url}/openapi.json")


def _try(schema: Any, operation: str, examples: int) -> None:
    method, path = operation.split()
    checks = [CHECKS.get_one(name) for name in CHECKS.get_all_names() if name not in _NOT_TRIED]

    @seed(13)
    @hypothesis_settings(
        max_examples=examples,
        deadline=None,
        database=None,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @schema.include(path=path, method=method).parametrize()
    def conforms(case: Any) -> None:
        case.call_and_validate(checks=checks)

    conforms()


def test_every_operation_is_tried(schema: Any) -> None:
    described = {f"{each.ok().method.upper()} {each.ok().path}" for each in schema.get_all_operations()}
    assert described == set(OPERATIONS)
