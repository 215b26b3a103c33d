"""`facets` and `quality`."""

from __future__ import annotations

import json
from typing import Any

import pytest

from executors.cli import main
from tests.support.flows.wire_service import WireService

Output = pytest.CaptureFixture[str]
FACETS: dict[str, Any] = {
    "data": [],
    "parameters": {
        "count": 1234,
        "facets": [
            {"path": "brand", "values": [{"value": "acme", "count": 1200}, {"value": None, "count": 3}], "more": 1},
            {"path": "sold", "values": [{"value": True, "count": 2}], "more": 0},
        ],
    },
}
QUALITY = {
    "collections": [
        {
            "collection": "images",
            "documents": 5000,
            "sampled": 100,
            "queries": 90,
            "walked": 90,
            "k": 10,
            "precision": {"mean": 0.9876, "lowest": 0.8, "all_found": 0.9},
            "took_ms": {"graph": 1.5, "exact": 1234.5},
        },
        {
            "collection": "new",
            "documents": 0,
            "sampled": 0,
            "queries": 0,
            "walked": 0,
            "k": 10,
            "precision": None,
            "took_ms": {"graph": None, "exact": None},
        },
    ]
}


def test_facets_for_people_and_for_programs(service: WireService, capsys: Output) -> None:
    service.answers["/facets"] = FACETS
    given = ["facets", "brand", "sold", "brand", "--filter", '{"price": {"$lt": 50}}', "--limit", "2"]
    assert main([*given, "--url", service.url]) == 0
    shown = capsys.readouterr().out
    for part in ("brand", '"acme"', "1,200", "null", "and 1 further value", "true", "1,234 documents in all"):
        assert part in shown
    assert service.requests == [
        ("/facets", [], {"paths": ["brand", "sold"], "limit": 2, "filter": {"price": {"$lt": 50}}})
    ]
    assert main([*given, "--url", service.url, "--json"]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert lines[0] == {"count": 1234} | FACETS["parameters"]["facets"][0]
    assert [line["path"] for line in lines] == ["brand", "sold"]


def test_quality_for_people_and_for_programs(service: WireService, capsys: Output) -> None:
    service.answers["/quality"] = QUALITY
    assert main(["quality", "--sample", "90", "-k", "5", "--ef", "64", "--url", service.url]) == 0
    shown = capsys.readouterr().out
    for part in ("images", "5,000", "0.9876", "0.8000", "1.50", "1,234.50", "–"):
        assert part in shown
    assert main(["quality", "--collection", "images", "--url", service.url, "--json"]) == 0
    first, second = (json.loads(line) for line in capsys.readouterr().out.splitlines())
    assert (first["collection"], first["mean"], first["exact_ms"], second["mean"]) == ("images", 0.9876, 1234.5, None)
    assert [given for _, _, given in service.requests] == [
        {"sample": 90, "k": 5, "ef": 64},
        {"sample": 100, "k": 10, "collection": "images"},
    ]


def test_wrong_arguments_are_found_before_anything_is_sent(service: WireService, capsys: Output) -> None:
    for given in (
        ["facets"],
        ["facets", "a", "--limit", "0"],
        ["facets", "a", "--filter", "{"],
        ["quality", "-k", "0"],
    ):
        assert main([*given, "--url", service.url]) == 2
        assert capsys.readouterr().err
    assert service.requests == []
