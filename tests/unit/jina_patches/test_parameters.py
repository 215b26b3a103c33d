"""Parameters of Jina's clients are refused before a call is begun: nothing answers at the address of these."""

from __future__ import annotations

import datetime
from typing import Any

import numpy as np
import pytest
from docarray import DocList
from jina import Client
from jina.clients.base import BaseClient

from executors.documents import ImageDoc
from executors.jina_patches.parameters import check_parameters, plain_parameters

DEEP: dict[str, Any] = {"a": 1}
for _ in range(16):
    DEEP = {"$or": [DEEP]}


@pytest.mark.parametrize(
    "parameters",
    [
        {"filter": {"n": b"x"}},
        {"filter": {"n": datetime.datetime(2024, 5, 1)}},
        {"filter": {"a": "\udcff"}},
        {"\udcff": 1},
        {"filter": {"n": {"$in": [1, np.datetime64("2024-05-01", "ns")]}}},
        {"limit": 10**400},
        {"limit": np.arange(2)},
        {1: 2},
        {"x": object()},
        "limit",
        [1],
    ],
)
def test_what_can_not_be_sent_is_a_value_error(parameters: Any) -> None:
    with pytest.raises(ValueError, match="parameters"):
        Client(host="grpc://127.0.0.1:1").post(
            "/search", DocList[ImageDoc]([ImageDoc(id="a")]), parameters=parameters, return_type=DocList[ImageDoc]
        )
    with pytest.raises(ValueError, match="parameters"):
        Client(host="grpc://127.0.0.1:1").search(DocList[ImageDoc]([ImageDoc(id="a")]), parameters=parameters)


def test_values_of_numpy_are_taken_and_filters_are_as_deep_as_they_may_be() -> None:
    given = {
        "limit": np.int64(3),
        "exact": np.True_,
        "filter": {np.str_("n"): {"$lt": np.float32(0.5)}},
        "x": (1, None),
    }
    plain = plain_parameters(given)
    assert plain == {"limit": 3, "exact": True, "filter": {"n": {"$lt": 0.5}}, "x": [1, None]}
    assert type(plain["limit"]) is int
    assert type(plain["exact"]) is bool
    for carried in ({"filter": DEEP}, {"limit": float("inf")}, {"filter": {"n": 2**60}}, {}):
        assert plain_parameters(carried) == carried, "the service has a code for each fault"


def test_it_is_done_once() -> None:
    before = BaseClient._get_requests
    check_parameters()
    assert BaseClient._get_requests is before
