"""Parameters of Jina's clients are refused before a call is begun: nothing answers at the address of these."""

from __future__ import annotations

import datetime
import math
from typing import Any

import numpy as np
import pytest
from docarray import DocList
from jina import Client
from jina.clients.base import BaseClient

from executors.documents import ImageDoc
from executors.flow.jina_patches.parameters import check_parameters


@pytest.mark.parametrize(
    "parameters",
    [
        {"filter": {"n": b"x"}},
        {"filter": {"n": datetime.datetime(2024, 5, 1)}},
        {"filter": {"a": "\udcff"}},
        {"\udcff": 1},
        {"filter": {"n": {"$in": [1, np.datetime64("2024-05-01", "ns")]}}},
        {"limit": 10**400},
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


@pytest.mark.parametrize("carried", [{"limit": math.inf}, {"n": np.int64(3)}, {"filter": {"n": 2**60}}, {}, None])
def test_what_a_message_can_carry_goes_to_the_service(carried: Any) -> None:
    """It has a code for each fault; here it is not there."""
    with pytest.raises(ConnectionError):
        Client(host="grpc://127.0.0.1:1").post(
            "/search", DocList[ImageDoc]([ImageDoc(id="a")]), parameters=carried, return_type=DocList[ImageDoc]
        )


def test_it_is_done_once() -> None:
    before = BaseClient._get_requests
    check_parameters()
    assert BaseClient._get_requests is before
