"""Past the gateway of a running flow: requests to its shards themselves, as another gateway or a late retry would send them."""

from __future__ import annotations

import re

from docarray import DocList
from jina import Client

from executors.documents import ImageDoc
from tests.support.flows.flow import RunningFlow


def post_to_shards(flow: RunningFlow, endpoint: str, document: ImageDoc, only: int | None = None) -> list[ImageDoc]:
    """Execute one request in every shard directly, as a late retry of Jina's would; the answers in shard order."""
    ports = [port for pod, _, port in flow.bound() if re.fullmatch(r"index/(shard-\d+/)?rep-0", pod)]
    answers = []
    for number, port in enumerate(ports):
        if only in (None, number):
            client = Client(port=port, protocol="grpc")
            answers.append(client.post(endpoint, DocList[ImageDoc]([document]), return_type=DocList[ImageDoc])[0])
    assert answers
    return answers
