"""Checks the whole index while it serves: the files of every shard, and whether a crash left an id in two shards."""

from __future__ import annotations

from typing import Any

from executors.documents import ImageDoc
from executors.gateway.shards.index_client import IndexClient


async def verify_index(index_client: IndexClient, *, repair: bool) -> dict[str, Any]:
    """Check every shard, and that no id is stored twice; return the report.

    With `repair`, remove the older copies, and have each shard rebuild what is made from the documents.
    """
    reports = await index_client.verify(repair=repair)
    owners: dict[tuple[str, str], list[tuple[str, int]]] = {}
    for report in reports:
        for collection, document_id, version in report["keys"]:
            owners.setdefault((collection, document_id), []).append((version, int(report["shard"][1])))
    doubled = {key: sorted(copies) for key, copies in owners.items() if len(copies) > 1}
    if repair and doubled:
        await index_client.supersede(
            [
                (
                    ImageDoc.from_values(id=document_id, collection=collection, version=copies[-1][0]),
                    {"digest": "", "shard": [None, copies[-1][1]]},
                )
                for (collection, document_id), copies in doubled.items()
            ]
        )
    faults = [f"shard {report['shard'][1]}: {fault}" for report in reports for fault in report["faults"]]
    return {
        "ok": not faults and (repair or not doubled),
        "documents": sum(report["documents"] for report in reports),
        "faults": faults,
        "double_ids": sorted(document_id for _, document_id in doubled),
        "repaired": len(doubled) if repair else 0,
        "repairs": [f"shard {report['shard'][1]}: {line}" for report in reports for line in report["repaired"]],
    }
